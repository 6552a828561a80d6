//! Every write and every sync goes wrong once, in every way.

use std::time::{Duration, Instant};

use crate::engine::tests::driver::{Driver, Ending, Verdict, put};
use crate::error::Error;
use crate::log::simulated::Fault;
use crate::model::{Durability, Op, Outcome, Range, Txn};
use crate::store::Store;

/// Opens, works and closes with a fault at one call, and opens again without; whether the fault came at all.
async fn with_fault_at(call: u64, fault: Fault) -> Verdict<bool> {
    let mut driver = Driver::new(call);
    driver.disk.fail_at(call, fault);
    match driver.open() {
        Ok(()) => {
            let going = driver.work(30).await?;
            if going && driver.end(Ending::Close).await.is_err() {
                // What a failed close leaves is what a kill leaves.
                driver.doubt();
            }
            if !going {
                driver.doubt();
            }
        }
        Err(Error::Open(_)) => driver.doubt(),
        Err(error) => return Err(format!("open: {error}")),
    }
    let came = !driver.disk.clear_fault();
    driver.end(Ending::Kill).await?;
    driver.recover(Ending::Kill).await?;
    driver.work(10).await?;
    Ok(came)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn every_call_may_fail_once() {
    for fault in [Fault::Eio, Fault::NoSpace, Fault::Short] {
        let mut calls = 0;
        for call in 1.. {
            match block_on(with_fault_at(call, fault)) {
                Ok(true) => calls += 1,
                Ok(false) => break,
                Err(what) => panic!("{fault:?} at call {call}: {what}"),
            }
        }
        assert!(calls > 30, "{fault:?} came at {calls} calls only");
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
            driver.disk.fail_at(call % 5 + 3, Fault::Eio);
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
        driver.disk.fail_at(2, Fault::Eio);
        for _ in 0..2 {
            let refused = store.txn(put("a", "2", Durability::Durable)).await;
            assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
        }
        assert_eq!(store.get(b"a").await.unwrap().unwrap().value, "1", "what was never durable is never seen");
        assert_eq!(store.revision(), 2);
    });
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
        let refused = store.txn(put("again", &value, Durability::Durable)).await;
        assert!(matches!(refused, Err(Error::NoSpace(_))), "the space is still taken: {refused:?}");
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
