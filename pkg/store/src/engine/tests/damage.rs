//! Damage in the log: what was safe on disk is never skipped, what was not is cut.

use crate::engine::tests::driver::{Driver, Ending, put};
use crate::error::Error;
use crate::model::Durability;
use crate::store::Store;

const FIRST: &str = "00000001.log";

/// A store with ten durable writes, ended without a farewell; where in the first segment each of their batches starts.
async fn ten_writes() -> (Driver, Vec<usize>) {
    let mut driver = Driver::new(1);
    driver.open().unwrap();
    let mut starts = Vec::new();
    for number in 0..10 {
        starts.push(driver.store().log_end());
        driver.store().txn(put(&format!("k{number}"), "value", Durability::Durable)).await.unwrap();
    }
    driver.end(Ending::Kill).await.unwrap();
    driver.forget_index();
    (driver, starts)
}

#[tokio::test]
async fn damage_before_what_was_durable_is_refused_by_name_and_place() {
    for victim in 0..9 {
        for skip in [0, 20, 70, 125] {
            let (mut driver, starts) = ten_writes().await;
            let offset = starts[victim] + skip;
            driver.disk.spoil(FIRST, |content| content[offset] ^= 0x10);
            match driver.open() {
                Err(Error::Damaged { file, offset: told, .. }) => {
                    assert_eq!(file, FIRST);
                    assert!((starts[victim] as u64..=offset as u64).contains(&told), "{told} for {offset}");
                }
                other => panic!("write {victim}, byte {skip}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn damage_at_the_very_end_is_a_torn_tail() {
    let (mut driver, starts) = ten_writes().await;
    driver.disk.spoil(FIRST, |content| content[starts[9] + 70] ^= 0x10);
    driver.open().unwrap();
    let store = driver.store();
    assert_eq!(store.get(b"k9").await.unwrap(), None);
    assert_eq!(store.range(Default::default()).await.unwrap().count, 9);
    assert!(store.revision() > 11, "revision 11 has been seen and must not come again");
    assert!(matches!(
        store.range(crate::Range { at: Some(11), ..Default::default() }).await,
        Err(Error::Compacted { .. })
    ));
    store.txn(put("k9", "again", Durability::Durable)).await.unwrap();
    assert_eq!(store.range(Default::default()).await.unwrap().count, 10);
}

/// A clean end says in the log that everything before it is durable, so nothing before it is a torn tail.
#[tokio::test]
async fn after_a_clean_end_even_the_last_write_is_not_cut() {
    let (mut driver, _) = ten_writes().await;
    driver.open().unwrap();
    let last = driver.store().log_end();
    driver.store().txn(put("last", "value", Durability::Durable)).await.unwrap();
    driver.end(Ending::Close).await.unwrap();
    driver.forget_index();
    driver.disk.spoil(FIRST, |content| content[last + 70] ^= 0x10);
    let opened = driver.open();
    assert!(matches!(opened, Err(Error::Damaged { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_missing_or_headless_segment_is_refused() {
    for (victim, spoil) in [(2, true), (2, false), (4, true)] {
        let mut driver = Driver::new(1);
        driver.open().unwrap();
        let value = "x".repeat(20_000);
        for number in 0..12 {
            driver.store().txn(put(&format!("k{number}"), &value, Durability::Durable)).await.unwrap();
        }
        driver.end(Ending::Kill).await.unwrap();
        driver.forget_index();
        let name = format!("0000000{victim}.log");
        if spoil {
            driver.disk.spoil(&name, |content| content[20] ^= 1);
        } else {
            crate::log::disk::Disk::remove(&driver.disk, &name).unwrap();
        }
        match driver.open() {
            Err(Error::Damaged { file, .. }) => assert_eq!(file, name),
            other => panic!("segment {victim}: {other:?}"),
        }
    }
}

/// Without its only header nothing of a log can be read, and that is not an empty store.
#[tokio::test]
async fn a_log_without_any_header_is_refused() {
    let (mut driver, _) = ten_writes().await;
    driver.disk.spoil(FIRST, |content| content[20] ^= 1);
    let opened = driver.open();
    assert!(matches!(&opened, Err(Error::Damaged { file, offset: 0, .. }) if file == FIRST), "{opened:?}");
}

#[tokio::test]
async fn another_format_is_named() {
    let (mut driver, _) = ten_writes().await;
    driver.disk.spoil(FIRST, |content| content[8] = 9);
    let opened = driver.open();
    assert!(
        matches!(&opened, Err(Error::Open(text)) if text == "00000001.log has format 9; this knarr reads format 1")
    );
}

/// A value that has rotted is an error for who asks for it, not for others.
#[tokio::test]
async fn a_rotten_value_is_never_handed_out() {
    let (mut driver, starts) = ten_writes().await;
    driver.open().unwrap();
    driver.disk.spoil(FIRST, |content| content[starts[3] + 64 + 56 + 3] ^= 1);
    let store = driver.store();
    assert!(matches!(store.get(b"k3").await, Err(Error::Damaged { .. })));
    assert_eq!(store.get(b"k4").await.unwrap().unwrap().value, "value");
    assert!(matches!(store.range(Default::default()).await, Err(Error::Damaged { .. })));
    assert!(store.txn(put("k4", "new", Durability::Durable)).await.is_ok());
}
