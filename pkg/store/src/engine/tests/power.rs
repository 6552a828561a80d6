//! Random work, ended in all ways, thousands of times.

use rand::Rng;

use crate::engine::tests::driver::{Driver, Ending, Verdict};
use crate::log::simulated::Fault;

/// One life of a store: some work, an end, and what the next life finds.
async fn life(driver: &mut Driver) -> Verdict {
    if driver.random.random_bool(0.6) {
        let call = driver.random.random_range(1..80);
        driver.disk.fail_at(call, Fault::PowerOff);
    }
    let steps = driver.random.random_range(1..40);
    let going = driver.work(steps).await?;
    let ending = match driver.random.random_range(0..4) {
        _ if !going || driver.disk.is_off() => Ending::PowerCut,
        0 => Ending::Close,
        1 | 2 => Ending::Kill,
        _ => Ending::PowerCut,
    };
    driver.disk.clear_fault();
    let ending = if driver.disk.is_off() { Ending::PowerCut } else { ending };
    driver.end(ending).await?;
    driver.recover(ending).await
}

/// `lives` lives of the store of one seed; what went wrong in which of them.
fn run(seed: u64, lives: u32, lying: bool) -> Verdict<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut driver = Driver::new(seed);
        driver.open().map_err(|error| error.to_string())?;
        if lying {
            driver.disk.lie();
        }
        for number in 0..lives {
            life(&mut driver).await.map_err(|what| format!("seed {seed}, life {number}: {what}"))?;
        }
        Ok(driver.reclaimed)
    })
}

/// How many times as long as usual tests run: `make test-long` sets it.
fn factor() -> u32 {
    std::env::var("KNARR_TEST_FACTOR").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

#[test]
fn nothing_acknowledged_is_ever_lost() {
    let mut reclaimed = 0;
    for _ in 0..60 * factor() {
        let seed = rand::rng().random();
        match run(seed, 25, false) {
            Ok(segments) => reclaimed += segments,
            Err(what) => panic!("{what}"),
        }
    }
    assert!(reclaimed > 0, "no segment was ever reclaimed: this tests less than it should");
}

#[test]
fn a_disk_that_lies_about_syncing_is_found_out() {
    for seed in 0..5 {
        let verdict = run(seed, 200, true);
        assert!(verdict.is_err(), "200 power cuts without any fdatasync, and nothing was missed");
    }
}
