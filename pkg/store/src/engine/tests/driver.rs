//! Drives a store on a simulated disk and a [`Model`] side by side, and compares what both say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::engine::tests::model::{Keys, Model, transaction};
use crate::engine::{LogStore, Options};
use crate::error::Error;
use crate::log::simulated::{Fault, SimulatedDisk};
use crate::model::{Batch, Durability, Event, KeyValue, Op, Outcome, Page, Range, Revision, Txn, prefix_end};
use crate::store::{Store, Watch};

/// What is wrong with the store, in words.
pub(super) type Verdict<T = ()> = Result<T, String>;

macro_rules! check {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}

/// How a store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Close,
    Kill,
    PowerCut,
}

pub(super) struct Driver {
    pub(super) disk: SimulatedDisk,
    pub(super) random: StdRng,
    pub(super) model: Model,
    pub(super) options: Options,
    /// Whether there is no space for sled; sometimes if `None`.
    pub(super) is_cramped: Option<bool>,
    index: TempDir,
    boot: u32,
    store: Option<Arc<LogStore>>,
    /// Transactions that may or may not have happened, in order.
    doubtful: Vec<Txn>,
    /// A compaction that may or may not have happened.
    doubtful_floor: Option<Revision>,
    /// Whether what was not durable may be gone.
    doubt: bool,
    /// How many segments of the log have come and gone.
    pub(super) reclaimed: u32,
}

/// Everything on the smallest scale.
pub(super) fn tiny() -> Options {
    Options { segment_size: 64 << 10, index_batch: 30, ring: 8 << 10, full_retry: Duration::ZERO, ..Options::default() }
}

/// Where index files of tests go: memory, if there is a file system for that.
pub(super) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Driver {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::default(),
            random: StdRng::seed_from_u64(seed),
            model: Model::new(),
            options: tiny(),
            is_cramped: None,
            index: scratch(),
            boot: 0,
            store: None,
            doubtful: Vec::new(),
            doubtful_floor: None,
            doubt: false,
            reclaimed: 0,
        }
    }

    pub(super) fn store(&self) -> &Arc<LogStore> {
        self.store.as_ref().expect("the store is open")
    }

    pub(super) fn open(&mut self) -> Result<(), Error> {
        let boot = format!("boot-{}", self.boot);
        let store = LogStore::open_on(Arc::new(self.disk.clone()), self.index.path(), &boot, self.options.clone())?;
        let is_cramped = self.is_cramped.unwrap_or_else(|| self.random.random_bool(0.2));
        store.state.index.cramped.store(is_cramped, Ordering::Relaxed);
        self.store = Some(store);
        Ok(())
    }

    /// From now on only what is durable must survive, as after a failed sync.
    pub(super) fn doubt(&mut self) {
        self.doubt = true;
    }

    /// A power cut that takes everything that was not synced.
    pub(super) fn lose_unsynced(&mut self) {
        self.store = None;
        self.disk = self.disk.synced_only();
        self.boot += 1;
    }

    /// The next start has to build the index from the log.
    pub(super) fn forget_index(&mut self) {
        self.index = scratch();
    }

    /// Some random work, each step checked. `Ok(false)` when the store stopped writing.
    pub(super) async fn work(&mut self, steps: u32) -> Verdict<bool> {
        for _ in 0..steps {
            let going = match self.random.random_range(0..20) {
                0 => self.compact().await?,
                1..=4 => self.look().await?,
                _ => self.write().await?,
            };
            if !going {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A few transactions at once. The store decides them in the order in which they were asked.
    async fn write(&mut self) -> Verdict<bool> {
        let count = [1, 1, 2, 5][self.random.random_range(0..4)];
        let txns: Vec<_> = (0..count).map(|_| transaction(&mut self.random, self.model.now())).collect();
        let outcomes = join_all(txns.iter().map(|txn| self.store().txn(txn.clone()))).await;
        for (txn, outcome) in txns.iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => {
                    check!(self.doubtful.is_empty(), "a transaction was done after one that failed");
                    self.done(txn, &outcome)?;
                }
                Err(Error::Poisoned(_)) => self.doubtful.push(txn.clone()),
                Err(Error::NoSpace(_)) => {}
                Err(error) => return Err(format!("{txn:?}: {error}")),
            }
        }
        Ok(self.doubtful.is_empty())
    }

    pub(super) fn done(&mut self, txn: &Txn, outcome: &Outcome) -> Verdict {
        let before = self.model.revision;
        let expected = self.model.write(txn);
        check!(*outcome == expected, "{txn:?}: {outcome:?} instead of {expected:?}");
        if self.model.revision > before && txn.durability == Durability::Durable {
            self.model.durable = self.model.revision;
        }
        Ok(())
    }

    async fn compact(&mut self) -> Verdict<bool> {
        let revision = self.random.random_range(self.model.floor..=self.model.revision);
        self.compact_to(revision).await
    }

    async fn compact_to(&mut self, revision: Revision) -> Verdict<bool> {
        match self.store().compact(revision).await {
            Ok(()) => {
                self.model.durable = if revision > self.model.floor { self.model.revision } else { self.model.durable };
                self.model.floor = revision;
                Ok(true)
            }
            Err(Error::Poisoned(_)) => {
                self.doubtful_floor = Some(revision);
                Ok(false)
            }
            Err(Error::NoSpace(_)) => Ok(true),
            Err(error) => Err(format!("compact {revision}: {error}")),
        }
    }

    /// Overwrites until old segments go. `Ok(false)` when the store stopped writing.
    pub(super) async fn turn_over(&mut self) -> Verdict<bool> {
        let value = "x".repeat(20_000);
        // At last so little that files which were kept for more segments go.
        for round in 0.. {
            if round > 10 || (round > 0 && self.disk.removed() > 0) {
                break;
            }
            for number in 0..(if round == 0 { 24 } else { 1 }) {
                let txn = put(&format!("turn/{}", number % 2), &value, Durability::Durable);
                match self.store().txn(txn.clone()).await {
                    Ok(outcome) => self.done(&txn, &outcome)?,
                    Err(Error::NoSpace(_)) => {}
                    Err(Error::Poisoned(_)) => {
                        self.doubtful.push(txn);
                        return Ok(false);
                    }
                    Err(error) => return Err(format!("{txn:?}: {error}")),
                }
            }
            if !self.until_reclaimed().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn until_reclaimed(&mut self) -> Verdict<bool> {
        let deadline = Instant::now() + Duration::from_secs(30);
        // Each compaction has upkeep look again.
        while self.compact_to(self.model.revision).await? {
            let stats = self.store().stats();
            let is_cramped = self.store().state.index.cramped.load(Ordering::Relaxed);
            if stats.segments < 8 && (is_cramped || stats.index_waiting == 0) {
                return Ok(true);
            }
            check!(Instant::now() < deadline, "nothing is reclaimed: {stats:?}");
            tokio::task::yield_now().await;
        }
        Ok(false)
    }

    /// One random read. `Ok(false)` when it failed, as it may when the store has stopped writing.
    async fn look(&mut self) -> Verdict<bool> {
        match (self.look_once().await, self.store().state.ended.get()) {
            (Err(_), Some(Error::Poisoned(_))) => Ok(false),
            (looked, _) => looked.map(|()| true),
        }
    }

    async fn look_once(&mut self) -> Verdict {
        let prefix = Bytes::from_static(["", "a/", "b/", "b/1", "cold/"].choose(&mut self.random).unwrap().as_bytes());
        match self.random.random_range(0..3) {
            0 => self.look_at_range(&prefix, None).await,
            1 => {
                let at = self.random.random_range(1..=self.model.revision + 2);
                self.look_at_range(&prefix, Some(at)).await
            }
            _ => {
                let from = self.random.random_range(1..=self.model.revision + 1);
                self.look_at_watch(&prefix, from).await
            }
        }
    }

    async fn look_at_range(&mut self, prefix: &Bytes, at: Option<Revision>) -> Verdict {
        let limit = [0, 1, 3][self.random.random_range(0..3)];
        let range = Range { start: prefix.clone(), end: prefix_end(prefix), limit, at, ..Range::default() };
        let found = self.store().range(range.clone()).await;
        let revision = at.unwrap_or(self.model.revision);
        if revision > self.model.revision {
            check!(matches!(found, Err(Error::FutureRevision { .. })), "{range:?}: {found:?}");
        } else if at.is_some() && !self.model.readable(revision) {
            check!(matches!(found, Err(Error::Compacted { .. })), "{range:?}: {found:?}");
        } else {
            let page = found.map_err(|error| format!("{range:?}: {error}"))?;
            let expected = page_of(self.model.at(revision), prefix, limit, revision);
            check!(page == expected, "{range:?}: {page:?} instead of {expected:?}");
        }
        Ok(())
    }

    async fn look_at_watch(&mut self, prefix: &Bytes, from: Revision) -> Verdict {
        let watch = self.store().watch(prefix.clone(), Some(from)).await;
        if !self.model.watchable(from) {
            check!(matches!(watch, Err(Error::Compacted { .. })), "watch from {from}: {watch:?}");
            return Ok(());
        }
        let mut watch = watch.map_err(|error| format!("watch from {from}: {error}"))?;
        let expected = self.model.batches.range(from..).filter_map(|(_, batch)| part_of(batch, prefix));
        for batch in expected {
            let next = next_of(&mut watch).await?;
            check!(next == batch, "watch from {from}: {next:?} instead of {batch:?}");
        }
        Ok(())
    }

    /// Ends the store. After a power cut the disk holds what it may hold then.
    pub(super) async fn end(&mut self, ending: Ending) -> Verdict {
        if let Some(store) = self.store.take() {
            let oldest = store.state.log.headers().first().map_or(1, |header| header.number);
            self.reclaimed = self.reclaimed.max(oldest - 1);
            if ending == Ending::Close {
                store.close().await.map_err(|error| format!("close: {error}"))?;
                self.model.durable = self.model.revision;
            }
            drop(store);
        }
        if ending == Ending::PowerCut {
            self.disk = self.disk.after_power_cut(&mut self.random);
            self.boot += 1;
        }
        if self.random.random_bool(0.3) {
            self.index = scratch();
        }
        Ok(())
    }

    /// Opens the store again, possibly with more power cuts while it repairs itself, and finds out what survived.
    pub(super) async fn recover(&mut self, mut ending: Ending) -> Verdict {
        while ending == Ending::PowerCut && self.random.random_bool(0.3) {
            self.disk.fail_at(self.random.random_range(1..12), Fault::PowerOff);
            // Whether it got as far as opening does not matter.
            let _opened = self.open();
            self.end(Ending::PowerCut).await?;
        }
        if ending == Ending::Close && self.random.random_bool(0.2) {
            self.boot += 1;
            ending = Ending::PowerCut;
        }
        self.open().map_err(|error| format!("open after {ending:?}: {error}"))?;
        self.compare(ending).await
    }

    /// Which of the doubtful things happened, and whether everything else did.
    async fn compare(&mut self, ending: Ending) -> Verdict {
        let (acknowledged, doubt) = (self.model.revision, std::mem::take(&mut self.doubt));
        for txn in std::mem::take(&mut self.doubtful) {
            self.model.write(&txn);
        }
        let (floor, revision) = (self.store().stats().oldest_revision, self.store().revision());
        let floors = (self.model.floor, self.doubtful_floor.take());
        check!(floor == floors.0 || Some(floor) == floors.1, "the floor is {floor}, not one of {floors:?}");
        self.model.floor = floor;

        let sentinel = Txn { ops: vec![Op::Put("zz".into(), "".into())], ..Txn::default() };
        let outcome = self.store().txn(sentinel.clone()).await.map_err(|error| error.to_string())?;
        let (from, survived) = self.batches_up_to(revision + 1).await?;
        let expected: Vec<_> = self.model.batches.range(from..).map(|(_, batch)| batch.clone()).collect();
        check!(expected.starts_with(&survived), "after {ending:?}: {survived:?} instead of {expected:?}");
        let older = || self.model.batches.range(..from).next_back().map_or(1, |(revision, _)| *revision);
        let last = survived.last().map_or_else(older, |batch| batch.revision);
        let durable = self.model.batches.range(..=self.model.durable).next_back().map_or(1, |(revision, _)| *revision);
        check!(last >= durable, "after {ending:?} {last} is the last revision, but {durable} was acknowledged");
        check!(revision >= acknowledged, "{acknowledged} was given before {ending:?}, now the revision is {revision}");
        if ending == Ending::PowerCut || doubt {
            self.model.lose(last, revision);
        } else {
            check!(survived == expected, "after {ending:?}: {survived:?} instead of {expected:?}");
        }
        self.done(&sentinel, &outcome)?;
        self.look_at_range(&Bytes::new(), None).await?;
        self.look_at_range(&Bytes::new(), Some(floor)).await
    }

    /// All batches from the oldest that can be asked for to the one before `end`, and where they start.
    async fn batches_up_to(&self, end: Revision) -> Verdict<(Revision, Vec<Batch>)> {
        let mut from = self.model.floor;
        let mut watch = match self.store().watch(Bytes::new(), Some(from)).await {
            Err(Error::Compacted { oldest, .. }) => {
                from = oldest + 1;
                self.store().watch(Bytes::new(), Some(from)).await
            }
            watch => watch,
        }
        .map_err(|error| format!("watch from {from}: {error}"))?;
        let mut batches = Vec::new();
        loop {
            let batch = next_of(&mut watch).await?;
            if batch.revision >= end {
                return Ok((from, batches));
            }
            batches.push(batch);
        }
    }
}

async fn next_of(watch: &mut Watch) -> Verdict<Batch> {
    match tokio::time::timeout(Duration::from_secs(30), watch.next()).await {
        Ok(Some(Ok(batch))) => Ok(batch),
        other => Err(format!("a watch that should go on: {other:?}")),
    }
}

fn part_of(batch: &Batch, prefix: &Bytes) -> Option<Batch> {
    let key = |event: &Event| match event {
        Event::Put { now, .. } => now.key.clone(),
        Event::Delete { previous, .. } => previous.key.clone(),
    };
    let events: Vec<_> = batch.events.iter().filter(|event| key(event).starts_with(prefix)).cloned().collect();
    (!events.is_empty()).then_some(Batch { revision: batch.revision, events })
}

fn page_of(keys: &Keys, prefix: &Bytes, limit: usize, revision: Revision) -> Page {
    let mut items: Vec<KeyValue> = keys.values().filter(|found| found.key.starts_with(prefix)).cloned().collect();
    let count = items.len();
    items.truncate(if limit == 0 { count } else { limit });
    Page { more: items.len() < count, items, count, revision }
}

/// One put without guards.
pub(super) fn put(key: &str, value: &str, durability: Durability) -> Txn {
    let op = Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    Txn { ops: vec![op], durability, ..Txn::default() }
}
