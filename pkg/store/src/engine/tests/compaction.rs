//! Compaction and upkeep, ended at each of their steps, and writes beside them.

use std::time::Duration;

use crate::engine::tests::driver::{Driver, Ending, Verdict, put};
use crate::log::simulated::{Call, Caller, Fault, Own};
use crate::model::{Durability, Outcome};
use crate::store::Store;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Ends the store at one call while old segments are copied, made durable and removed; whether the call came. The next
/// start has everything, and finishes what was begun.
async fn with_end_at(of: Own, number: u64, ending: Ending) -> Verdict<bool> {
    let mut driver = Driver::new(number);
    driver.is_cramped = Some(number % 3 == 2);
    driver.open().map_err(|error| error.to_string())?;
    driver.work(10).await?;
    driver.disk.fail_at_of(of, number, Fault::PowerOff);
    driver.turn_over().await?;
    let came = !driver.disk.clear_fault();
    // Upkeep may be on its way to the call.
    let ending = if driver.disk.is_off() { ending } else { Ending::Kill };
    if driver.disk.is_off() {
        // Half of the write may be there.
        driver.doubt();
    }
    driver.end(ending).await?;
    driver.disk.turn_on();
    driver.recover(ending).await?;
    if !driver.turn_over().await? {
        return Err("the store stopped writing".to_owned());
    }
    Ok(came)
}

#[test]
fn compaction_goes_on_after_an_end_at_any_step() {
    use Call::{Remove, Rename, Sync, SyncNames, Write};
    for ending in [Ending::Kill, Ending::PowerCut] {
        for caller in [Caller::Writer, Caller::Upkeep] {
            let mut came = 0;
            for call in [Write, Sync, Rename, Remove, SyncNames] {
                for number in 1.. {
                    match block_on(with_end_at((caller, call), number, ending)) {
                        Ok(true) => came += 1,
                        Ok(false) => break,
                        Err(what) => panic!("{ending:?} at {call:?} {number} of {caller:?}: {what}"),
                    }
                }
            }
            assert!(came >= 5, "{caller:?} was ended {came} times only");
        }
    }
}

/// Whatever upkeep waits for, writers and readers do not.
#[test]
fn writes_go_on_while_compaction_runs() {
    for call in [Call::Rename, Call::Remove, Call::SyncNames] {
        block_on(async {
            let mut driver = Driver::new(1);
            driver.is_cramped = Some(false);
            driver.open().unwrap();
            driver.disk.hold(Some((Caller::Upkeep, call)));
            let store = driver.store().clone();
            let value = "x".repeat(20_000);
            let limit = Duration::from_secs(20);
            let write = async |key: &str| {
                let written = tokio::time::timeout(limit, store.txn(put(key, &value, Durability::Durable))).await?;
                assert!(matches!(written, Ok(Outcome::Done(_))), "{written:?}");
                Ok(())
            };
            let work = async {
                for round in 0.. {
                    assert!(round < 2000, "upkeep comes to no {call:?}");
                    write("a").await?;
                    store.compact(store.revision()).await.unwrap();
                    if driver.disk.is_waiting() {
                        break;
                    }
                }
                for _ in 0..30 {
                    write("b").await?;
                }
                Ok::<_, tokio::time::error::Elapsed>(store.get(b"b").await.unwrap().unwrap().version)
            };
            let worked = work.await;
            // Else the end of the store waits for upkeep, and that for ever.
            driver.disk.hold(None);
            assert_eq!(worked.expect("a write waits for upkeep"), 30, "{call:?}");
        });
    }
}
