//! `kill -9` at random moments: a child process writes and says what was acknowledged; nothing of that may be missing, nothing
//! half-written visible, and no revision given twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "the suite's own module")]

mod contract;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use contract::{bytes, put};
use knarr_store::{Durability, Event, LogStore, Options, Outcome, Shared, Store, Txn};
use rand::Rng;

const DIRECTORY: &str = "KNARR_CRASH_TEST_DIRECTORY";
const WRITERS: u32 = 4;

fn options() -> Options {
    Options { segment_size: 256 << 10, index_batch: 100, ring: 64 << 10, ..Options::default() }
}

/// The child: some tasks that write pairs of equal values and say so, until the process is killed. Without the variable it is
/// a test that has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = LogStore::open(directory, options()).unwrap();
    let start = store.revision();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let value = format!("{start}-{writer}-{number}");
                let padding = "x".repeat(number % 3000);
                let ops = vec![
                    put(&format!("left/{writer}/{}", number % 10), &format!("{value}-{padding}")),
                    put(&format!("right/{writer}/{}", number % 10), &format!("{value}-{padding}")),
                ];
                let durability = if number % 3 == 0 { Durability::Relaxed } else { Durability::Durable };
                let outcome = store.txn(Txn { ops, durability, ..Txn::default() }).await.unwrap();
                let Outcome::Done(revision) = outcome else { panic!("{outcome:?}") };
                say(revision, &value);
                if number % 50 == 49 && writer == 0 {
                    store.compact(revision.saturating_sub(100).max(1)).await.unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

fn say(revision: u64, value: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {revision} {value}").and_then(|()| out.flush()).unwrap();
}

/// Runs the child until it has acknowledged some number of writes, kills it, and answers all that it has said.
fn run_and_kill(directory: &Path, lines: usize) -> BTreeMap<u64, String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = BTreeMap::new();
    let mut note = |line: String| {
        let mut words = line.split(' ').skip_while(|word| !word.ends_with("acknowledged")).skip(1);
        if let (Some(revision), Some(value)) = (words.next(), words.next()) {
            let twice = acknowledged.insert(revision.parse().unwrap(), value.to_owned());
            assert_eq!(twice, None, "revision {revision} was given twice");
        }
    };
    said.by_ref().take(lines).for_each(|line| note(line.unwrap()));
    child.kill().unwrap();
    said.map_while(Result::ok).for_each(&mut note);
    child.wait().unwrap();
    acknowledged
}

/// What the history says, by revision, from the oldest that can be asked for.
async fn history(store: &Shared, oldest: u64) -> BTreeMap<u64, Vec<(Bytes, Bytes)>> {
    let end = contract::write(store, [put("end", "")]).await;
    let mut watch = store.watch(bytes(""), Some(oldest)).await.unwrap();
    let mut history = BTreeMap::new();
    loop {
        let batch = contract::next(&mut watch).await;
        if batch.revision == end {
            return history;
        }
        let pairs = batch.events.iter().map(|event| match event {
            Event::Put { now, .. } => (now.key.clone(), now.value.clone()),
            Event::Delete { previous, .. } => panic!("nobody deleted {previous:?}"),
        });
        history.insert(batch.revision, pairs.collect());
    }
}

fn rounds() -> u32 {
    let factor: u32 = std::env::var("KNARR_TEST_FACTOR").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    25 * factor.min(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..rounds() {
        let lines = rand::rng().random_range(1..400);
        let acknowledged = run_and_kill(directory.path(), lines);
        let opened = LogStore::open(directory.path(), options()).unwrap();
        let oldest = opened.stats().oldest_revision;
        let store: Shared = opened.clone();
        let newest = acknowledged.keys().next_back().copied().unwrap_or_default();
        assert!(store.revision() >= newest, "round {round}: {newest} is gone");
        let history = history(&store, oldest).await;
        for (revision, value) in acknowledged.range(oldest..) {
            let found = history.get(revision).unwrap_or_else(|| panic!("round {round}: {revision} is gone"));
            assert_eq!(found.len(), 2, "round {round}, revision {revision}: half a transaction");
            for (key, content) in found {
                let content = String::from_utf8_lossy(content);
                assert!(content.starts_with(&format!("{value}-")), "round {round}, {revision}: {key:?} is {content}");
            }
        }
        for (revision, pairs) in history.iter().filter(|(_, pairs)| pairs[0].0 != "end") {
            assert_eq!((pairs.len(), &pairs[0].1), (2, &pairs[1].1), "round {round}, revision {revision}: torn");
        }
        let now = store.range(contract::prefix("")).await.unwrap();
        for kv in now.items.iter().filter(|kv| kv.mod_revision >= oldest && kv.key != "end") {
            let written = &history[&kv.mod_revision];
            assert!(written.contains(&(kv.key.clone(), kv.value.clone())), "round {round}: {kv:?}");
        }
        drop(store);
        opened.close().await.unwrap();
    }
}
