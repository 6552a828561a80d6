//! A segment that is written over an older one.

use crate::engine::tests::driver::{Driver, Ending, put};
use crate::log::Segment;
use crate::log::disk::{Disk, read_up_to};
use crate::log::scan::is_blank;
use crate::model::{Durability, Range};
use crate::store::Store;

#[tokio::test]
async fn a_segment_over_an_old_one_holds_only_its_own() {
    for ending in [Ending::Kill, Ending::PowerCut] {
        let mut driver = Driver::new(1);
        driver.open().unwrap();
        let store = driver.store().clone();
        let value = "x".repeat(3000);
        let mut round = 0;
        while !holds_older_bytes(&driver) {
            round += 1;
            assert!(round < 10_000, "no file of a segment became another one");
            store.txn(put("a", &value, Durability::Durable)).await.unwrap();
            store.txn(put(&format!("b{}", round % 7), "", Durability::Durable)).await.unwrap();
            store.compact(store.revision()).await.unwrap();
        }
        let (revision, held) = (store.revision(), store.range(Range::default()).await.unwrap());
        drop(store);
        if ending == Ending::PowerCut {
            driver.lose_unsynced();
        }
        driver.end(Ending::Kill).await.unwrap();
        driver.forget_index();
        driver.open().unwrap();
        let found =
            driver.store().range(Range { at: Some(driver.store().revision()), ..Range::default() }).await.unwrap();
        assert_eq!(found.items, held.items);
        if ending == Ending::Kill {
            assert_eq!(driver.store().revision(), revision, "nothing was cut");
        }
    }
}

/// Whether there is something behind the end of the log.
fn holds_older_bytes(driver: &Driver) -> bool {
    let newest = driver.store().state.log.headers().last().unwrap().number;
    let mut behind = [0; 4096];
    let file = driver.disk.open(&Segment::name(newest)).unwrap();
    read_up_to(file.as_ref(), &mut behind, driver.store().log_end() as u64).unwrap();
    !is_blank(&behind)
}
