//! Every write and every sync goes wrong once, in every way.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::engine::tests::driver::{Driver, Ending, Verdict, put};
use crate::error::Error;
use crate::log::simulated::{Call, Caller, Fault};
use crate::model::{Durability, Op, Outcome, Range, Txn};
use crate::store::Store;

/// Opens, works and closes with a fault at one call of one thread, and opens again without. Whether the call came.
async fn with_fault_at(of: (Caller, Call), number: u64, fault: Fault) -> Verdict<bool> {
    // The same work whatever fails.
    let mut driver = Driver::new(7);
    driver.is_cramped = Some(false);
    driver.disk.fail_at_of(of, number, fault);
    match driver.open() {
        Ok(()) => {
            let going = driver.work(15).await? && driver.turn_over().await?;
            if !going || driver.end(Ending::Close).await.is_err() {
                // What a failed close leaves is what a kill leaves.
                driver.doubt();
            }
        }
        Err(Error::Open(_)) => driver.doubt(),
        Err(error) => return Err(format!("open: {error}")),
    }
    // Upkeep works until the store is dropped.
    driver.end(Ending::Kill).await?;
    let came = !driver.disk.clear_fault();
    driver.recover(Ending::Kill).await?;
    driver.work(10).await?;
    Ok(came)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Each call in turn of each thread and each kind. What only repairs do, the tests behind this one see.
#[test]
fn every_call_may_fail_once() {
    use Call::{Create, Remove, Rename, Sync, SyncNames, Write};
    const ALL: &[Call] = &[Create, Write, Sync, Rename, Remove, SyncNames];
    for (fault, calls) in [(Fault::Eio, ALL), (Fault::NoSpace, ALL), (Fault::Short, &[Write])] {
        for call in calls {
            let mut came = 0;
            for caller in [Caller::Opening, Caller::Writer, Caller::Upkeep] {
                for number in 1.. {
                    match block_on(with_fault_at((caller, *call), number, fault)) {
                        Ok(true) => came += 1,
                        Ok(false) => break,
                        Err(what) => panic!("{fault:?} at {call:?} {number} of {caller:?}: {what}"),
                    }
                }
            }
            assert!(came > 0, "{fault:?} came at no {call:?}");
        }
    }
}

/// A torn tail, and then every call of the repair fails once, in the same boot.
#[test]
fn a_repair_that_fails_is_repeated() {
    for call in 1.. {
        let came = block_on(async {
            let mut driver = Driver::new(call);
            driver.open().unwrap();
            driver.work(20).await?;
            driver.disk.fail_at_of((Caller::Writer, Call::Write), call % 5 + 3, Fault::Eio);
            driver.work(60).await?;
            driver.doubt();
            driver.end(Ending::Kill).await?;
            driver.disk.clear_fault();
            driver.disk.fail_at(call, Fault::Eio);
            let opened = driver.open();
            let came = !driver.disk.clear_fault();
            if opened.is_ok() && !came {
                return Ok(false);
            }
            driver.end(Ending::Kill).await?;
            driver.recover(Ending::Kill).await?;
            Ok::<_, String>(true)
        });
        match came {
            Ok(true) => {}
            Ok(false) if call > 5 => return,
            other => panic!("call {call}: {other:?}"),
        }
    }
}

#[test]
fn a_failed_sync_is_final() {
    block_on(async {
        let mut driver = Driver::new(1);
        driver.open().unwrap();
        let store = driver.store().clone();
        assert_eq!(store.txn(put("a", "1", Durability::Durable)).await.unwrap(), Outcome::Done(2));
        driver.disk.fail_at_of((Caller::Writer, Call::Sync), 1, Fault::Eio);
        for _ in 0..2 {
            let refused = store.txn(put("a", "2", Durability::Durable)).await;
            assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
        }
        assert_eq!(store.get(b"a").await.unwrap().unwrap().value, "1", "what was never durable is never seen");
        assert_eq!(store.revision(), 2);
    });
}

#[test]
fn a_relaxed_write_reaches_the_disk_by_itself() {
    block_on(async {
        let mut driver = Driver::new(1);
        driver.options.relaxed_delay = Duration::from_millis(1);
        driver.open().unwrap();
        let store = driver.store().clone();
        store.txn(put("lease", "1", Durability::Relaxed)).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while store.durable_revision() < 2 {
            assert!(Instant::now() < deadline, "still not on disk");
            tokio::task::yield_now().await;
        }
        drop(store);
        driver.lose_unsynced();
        driver.open().unwrap();
        assert_eq!(driver.store().get(b"lease").await.unwrap().unwrap().mod_revision, 2);
    });
}

/// Linux drops what it could not write: a relaxed write that was seen is gone, though the machine never went down.
#[test]
fn after_a_failed_sync_no_revision_comes_again() {
    block_on(async {
        let mut driver = Driver::new(1);
        driver.open().unwrap();
        driver.store().txn(put("a", "1", Durability::Durable)).await.unwrap();
        assert_eq!(driver.store().txn(put("b", "1", Durability::Relaxed)).await.unwrap(), Outcome::Done(3));
        driver.disk.fail_at_of((Caller::Writer, Call::Sync), 1, Fault::Eio);
        assert!(driver.store().txn(put("c", "1", Durability::Durable)).await.is_err());
        driver.end(Ending::Kill).await.unwrap();
        driver.forget_index();
        driver.open().unwrap();
        assert_lost_and_skipped(&driver).await;
    });
}

/// The same when a torn tail is found, whenever the repair is interrupted.
#[test]
fn a_cut_tail_is_never_forgotten() {
    for call in 1.. {
        let came = block_on(async {
            let mut driver = Driver::new(1);
            driver.open().unwrap();
            driver.store().txn(put("a", "1", Durability::Durable)).await.unwrap();
            let start = driver.store().log_end();
            driver.store().txn(put("b", "1", Durability::Relaxed)).await.unwrap();
            driver.end(Ending::Kill).await.unwrap();
            driver.forget_index();
            driver.disk.spoil("00000001.log", |content| content[start + 64] ^= 1);
            driver.disk.fail_at(call, Fault::Eio);
            let opened = driver.open();
            driver.end(Ending::Kill).await.unwrap();
            let came = !driver.disk.clear_fault();
            assert!(opened.is_err() || !came || call > 10, "call {call} failed and nobody noticed");
            driver.forget_index();
            driver.open().unwrap();
            assert_lost_and_skipped(&driver).await;
            came
        });
        if !came {
            assert!(call > 8, "only {call} calls");
            return;
        }
    }
}

/// `a` is there, `b` is lost, and its revision 3 is not given again.
async fn assert_lost_and_skipped(driver: &Driver) {
    let store = driver.store();
    assert_eq!(store.range(Range::default()).await.unwrap().count, 1);
    assert!(store.revision() > 3, "revision {} goes on below one that was seen", store.revision());
    let past = store.range(Range { at: Some(3), ..Range::default() }).await;
    assert!(matches!(past, Err(Error::Compacted { .. })), "{past:?}");
    let watch = store.watch(Bytes::new(), Some(4)).await;
    assert!(matches!(watch, Err(Error::Compacted { .. })), "who saw revision 3 must list again: {watch:?}");
    assert!(store.watch(Bytes::new(), Some(3)).await.is_ok(), "who saw revision 2 need not");
}

#[test]
fn a_full_disk_lets_deletes_through_and_recovers() {
    block_on(async {
        let mut driver = Driver::new(1);
        driver.open().unwrap();
        let store = driver.store().clone();
        driver.disk.limit(Some(14 * u64::from(driver.options.segment_size)));
        let value = "x".repeat(1000);
        let mut written: Vec<String> = Vec::new();
        let refused = loop {
            let key = format!("k{:04}", written.len());
            match store.txn(put(&key, &value, Durability::Durable)).await {
                Ok(_) => written.push(key),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::NoSpace(_)), "{refused:?}");
        assert!(store.stats().full);
        assert!(written.len() > 400, "{} values fit", written.len());
        assert_eq!(store.range(Range::default()).await.unwrap().count, written.len(), "reads go on");

        for key in written.iter().rev().take(150) {
            let deleted = store.txn(Txn { ops: vec![Op::Delete(key.clone().into())], ..Txn::default() }).await;
            assert!(matches!(deleted, Ok(Outcome::Done(_))), "{deleted:?}");
        }
        // The file that was being prepared for the next segment may take some.
        let mut taken = 0;
        while let Ok(done) = store.txn(put("again", &value, Durability::Durable)).await {
            taken += 1;
            assert!(taken < 100, "the space is still taken: {done:?}");
        }
        // As in a cluster: some more deletes, and a compaction from time to time. Either may meet the moment in which
        // reclaiming needs the last spare segment itself.
        let mut left = written.iter().rev().skip(150);
        let mut deleted = 150;
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = store.txn(put("again", &value, Durability::Durable)).await {
            assert!(matches!(error, Error::NoSpace(_)) && Instant::now() < deadline, "{deleted} deleted: {error}");
            let ops = left.next().map(|key| Op::Delete(key.clone().into())).into_iter().collect::<Vec<_>>();
            let tried = ops.len();
            match store.txn(Txn { ops, ..Txn::default() }).await {
                Ok(_) => deleted += tried,
                Err(error) => assert!(matches!(error, Error::NoSpace(_)), "{error}"),
            }
            if let Err(error) = store.compact(store.revision()).await {
                assert!(matches!(error, Error::NoSpace(_)), "{error}");
            }
        }
        assert!(!store.stats().full);
        let left = written.len() - deleted + 1;
        assert_eq!(store.range(Range::default()).await.unwrap().count, left, "nothing else was lost");
    });
}
