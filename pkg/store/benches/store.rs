//! `cargo bench -p knarr-store`: durable puts per second and their 99th percentile, in process, 1 KiB values.
//!
//! One line per figure: `NAME ours=X goal=G`. The goals are three times (at 64 clients) and once (else) what etcd 3.7.3 did on
//! the machine this was first measured on; the comparison proper, in one run, is a benchmark of its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail that way")]
#![allow(missing_docs, reason = "a program")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use knarr_store::{LogStore, Op, Options, Range, Shared, Txn};

/// Clients, puts, goal in puts/s, goal of the 99th percentile in milliseconds.
const LEVELS: [(usize, usize, f64, f64); 4] =
    [(1, 4_000, 1934.0, 1.2), (8, 20_000, 5716.0, 3.8), (64, 120_000, 44_091.0, 11.9), (512, 200_000, 20_708.0, 42.7)];
const KEYS: usize = 10_000;
const VALUE: usize = 1024;

#[tokio::main]
async fn main() {
    // On the disk that is measured, not in memory as the directory for temporary files may be.
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(directory).unwrap();
    let directory = tempfile::tempdir_in(directory).unwrap();
    let opened = LogStore::open(directory.path(), Options::default()).unwrap();
    let store: Shared = opened.clone();
    for (clients, puts, rate_goal, slow_goal) in LEVELS {
        let (rate, slow) = puts_per_second(&store, clients, puts).await;
        println!("put_{clients}_clients_per_second ours={rate:.0} goal=>={rate_goal:.0}");
        println!("put_{clients}_clients_p99_ms ours={:.2} goal=<={slow_goal}", slow.as_secs_f64() * 1000.0);
    }
    let start = Instant::now();
    let page = store.range(Range::default()).await.unwrap();
    println!("range_{}_keys_ms ours={:.1}", page.count, start.elapsed().as_secs_f64() * 1000.0);
    let stats = opened.stats();
    println!("puts_per_sync ours={:.1}", stats.writes as f64 / stats.syncs as f64);
    println!("log_mib ours={} live_mib ours={}", stats.log_bytes >> 20, stats.live_bytes >> 20);
    println!("resident_kib ours={}", resident());
    drop(store);
    opened.close().await.unwrap();
    drop(opened);
    let start = Instant::now();
    let reopened = LogStore::open(directory.path(), Options::default()).unwrap();
    println!("reopen_ms ours={:.1}", start.elapsed().as_secs_f64() * 1000.0);
    drop(reopened);
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let start = Instant::now();
    let rebuilt = LogStore::open(directory.path(), Options::default()).unwrap();
    println!("reopen_without_index_ms ours={:.1}", start.elapsed().as_secs_f64() * 1000.0);
    drop(rebuilt);
}

/// Puts by so many clients at once; the rate, and the 99th percentile of how long one took.
async fn puts_per_second(store: &Shared, clients: usize, puts: usize) -> (f64, Duration) {
    let value = Bytes::from(vec![b'v'; VALUE]);
    let each = puts / clients;
    let start = Instant::now();
    let clients = (0..clients).map(|client| {
        let (store, value) = (store.clone(), value.clone());
        tokio::spawn(async move {
            let mut taken = Vec::with_capacity(each);
            for number in 0..each {
                let key = format!("/registry/pods/default/pod-{:05}", (client * 7919 + number * 104_729) % KEYS);
                let txn = Txn { ops: vec![Op::Put(key.into(), value.clone())], ..Txn::default() };
                let start = Instant::now();
                store.txn(txn).await.unwrap();
                taken.push(start.elapsed());
            }
            taken
        })
    });
    let mut taken = Vec::with_capacity(puts);
    for client in clients.collect::<Vec<_>>() {
        taken.extend(client.await.unwrap());
    }
    let rate = taken.len() as f64 / start.elapsed().as_secs_f64();
    taken.sort_unstable();
    (rate, taken.get(taken.len() * 99 / 100).copied().unwrap_or_default())
}

/// Resident memory of this process that is its own (`Pss_Anon` would leave out the program, as a node's budget does not).
fn resident() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
