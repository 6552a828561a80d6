//! A process that writes to a store until it is stopped, says what was acknowledged, and is checked afterwards. The test
//! binary runs itself as that process: each has a test `child` that calls [`child`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use knarr_store::{Durability, Event, LogStore, Options, Outcome, Revision, Shared, Store, Txn};

use crate::contract::{self, bytes, put};

const DIRECTORY: &str = "KNARR_STORE_WRITER";
const WRITERS: u32 = 4;

pub fn options() -> Options {
    Options { segment_size: 256 << 10, index_batch: 100, ring: 64 << 10, ..Options::default() }
}

/// How many rounds of a test, of which `normal` belong in a normal run and `long` in a long one.
pub fn rounds(normal: u32, long: u32) -> u32 {
    if std::env::var_os("KNARR_TEST_FACTOR").is_some() { long } else { normal }
}

/// Some tasks that write pairs of equal values and say so, until the process is killed. Without the variable there is nothing
/// to do.
pub async fn child() {
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
                let (durability, word) =
                    if number % 3 == 0 { (Durability::Relaxed, "relaxed") } else { (Durability::Durable, "durable") };
                let outcome = store.txn(Txn { ops, durability, ..Txn::default() }).await.unwrap();
                let Outcome::Done(revision) = outcome else { panic!("{outcome:?}") };
                say(word, revision, &value);
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

fn say(word: &str, revision: Revision, value: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {word} {revision} {value}").and_then(|()| out.flush()).unwrap();
}

/// What a process has said.
#[derive(Debug, Default)]
pub struct Said {
    pub acknowledged: BTreeMap<Revision, String>,
    /// The newest revision that a power cut may not take.
    pub durable: Revision,
}

impl Said {
    fn note(&mut self, line: &str) {
        let mut words = line.split(' ').skip_while(|word| !word.ends_with("acknowledged")).skip(1);
        if let (Some(word), Some(revision), Some(value)) = (words.next(), words.next(), words.next()) {
            let revision = revision.parse().unwrap();
            let twice = self.acknowledged.insert(revision, value.to_owned());
            assert_eq!(twice, None, "revision {revision} was given twice");
            if word == "durable" {
                self.durable = self.durable.max(revision);
            }
        }
    }

    pub fn newest(&self) -> Revision {
        self.acknowledged.keys().next_back().copied().unwrap_or_default()
    }
}

/// The running process; killed when dropped.
pub struct Writer {
    pub process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Said,
}

impl Writer {
    pub fn start(directory: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, directory)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines, said: Said::default() }
    }

    /// Listens until it has said that many lines more.
    pub fn listen(&mut self, lines: usize) {
        for line in self.lines.by_ref().take(lines) {
            self.said.note(&line.unwrap());
        }
    }

    /// Kills it, and answers all that it has said.
    pub fn kill(mut self) -> Said {
        self.process.kill().unwrap();
        for line in self.lines.by_ref().map_while(Result::ok) {
            self.said.note(&line);
        }
        std::mem::take(&mut self.said)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may be dead already.
        let _killed = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// What the history says, by revision, from the oldest that can be asked for.
async fn history(store: &Shared, oldest: Revision) -> BTreeMap<Revision, Vec<(Bytes, Bytes)>> {
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

/// Everything that was acknowledged up to `safe` must be there, nothing half-written visible, and no revision that anybody
/// has heard of given again. Closes the store.
pub async fn check(directory: &Path, said: &Said, safe: Revision) {
    let opened = LogStore::open(directory, options()).unwrap();
    let oldest = opened.stats().oldest_revision;
    let store: Shared = opened.clone();
    let first_new = store.revision() + 1;
    assert!(store.revision() >= said.newest(), "{} may come again", said.newest());
    let history = history(&store, oldest).await;
    // Nothing may be safe yet.
    for (revision, value) in said.acknowledged.range(oldest..).take_while(|(revision, _)| **revision <= safe) {
        let found = history.get(revision).unwrap_or_else(|| panic!("{revision} is gone"));
        assert_eq!(found.len(), 2, "revision {revision}: half a transaction");
        for (key, content) in found {
            let content = String::from_utf8_lossy(content);
            assert!(content.starts_with(&format!("{value}-")), "{revision}: {key:?} is {content}");
        }
    }
    for (revision, pairs) in history.iter().filter(|(_, pairs)| pairs[0].0 != "end") {
        assert_eq!((pairs.len(), &pairs[0].1), (2, &pairs[1].1), "revision {revision}: torn");
    }
    let now = store.range(contract::prefix("")).await.unwrap();
    for kv in now.items.iter().filter(|kv| (oldest..first_new).contains(&kv.mod_revision) && kv.key != "end") {
        let written = &history[&kv.mod_revision];
        assert!(written.contains(&(kv.key.clone(), kv.value.clone())), "{kv:?}");
    }
    store.close().await.unwrap();
}
