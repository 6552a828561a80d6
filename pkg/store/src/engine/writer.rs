//! The writer: the one thread that appends to the log.
//!
//! All transactions that wait when it looks become one batch, with one `write(2)` and, if any of them is durable, one
//! `fdatasync(2)`. Only then are they visible and answered, in order. Relaxed ones alone are visible when they are
//! written; the disk gets them with the next durable one, or when [`Options::relaxed_delay`] has passed.
//!
//! [`Options::relaxed_delay`]: crate::Options::relaxed_delay

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use crate::engine::group::Group;
use crate::engine::options::Options;
use crate::engine::queue::{Queue, Reply, Request};
use crate::engine::signal::Signal;
use crate::engine::state::State;
use crate::error::Error;
use crate::index::{Covered, Slot};
use crate::log::append::{AppendError, Appender, Draft, Leave, Stamp};
use crate::log::format::{Kind, Place};
use crate::model::{Op, Outcome, Revision, Txn};

/// How many revisions are reserved ahead: relaxed writes whose revision has been seen, but which a power cut takes away,
/// stay below, so that no revision is ever given twice.
pub(crate) const RESERVE: Revision = 1 << 16;
/// How many segments back a record may refer to the one that it overwrites. A segment is removed only when everything in
/// it and in so many after it is compacted, so a reference that can still be followed never dangles.
pub(crate) const REACH: u32 = 4;
/// So many bytes of the log may be missing in sled: reading them again takes a start some tenths of a second.
pub(crate) const UNINDEXED: u64 = 64 << 20;
/// Transactions are gathered into one batch up to about this size.
const BATCH_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) state: Arc<State>,
    pub(crate) queue: Arc<Queue>,
    /// Tells upkeep that there may be work.
    pub(crate) upkeep: Arc<Signal>,
    pub(crate) appender: Appender,
    pub(crate) options: Options,
    /// The newest revision given.
    pub(crate) revision: Revision,
    /// Up to where revisions are reserved on disk, and in what was written.
    pub(crate) reserved: (Revision, Revision),
    /// When something written must be on disk.
    pub(crate) sync_by: Option<Instant>,
    /// Until when the disk counts as full without asking it again.
    pub(crate) full_until: Option<Instant>,
}

impl Writer {
    /// Works until it is told to end. A panic poisons the store.
    pub(crate) fn run(mut self) {
        let (state, queue) = (Arc::clone(&self.state), Arc::clone(&self.queue));
        if catch_unwind(AssertUnwindSafe(move || self.work())).is_err() {
            state.end(Error::Poisoned("the writer panicked".to_owned()));
        }
        state.end(Error::Closed);
        queue.close();
    }

    fn work(&mut self) {
        loop {
            let mut writes = Vec::new();
            let mut size = 0;
            for request in self.queue.take(self.sync_by) {
                match request {
                    Request::Write(txn, reply) => {
                        size += size_of(&txn);
                        writes.push((txn, reply));
                        if size >= BATCH_BYTES {
                            self.commit(std::mem::take(&mut writes));
                            size = 0;
                        }
                    }
                    other => {
                        self.commit(std::mem::take(&mut writes));
                        if self.serve(other) == Flow::End {
                            return;
                        }
                    }
                }
            }
            self.commit(writes);
            if self.sync_by.is_some_and(|by| by <= Instant::now()) {
                self.sync_or_end();
            }
        }
    }

    fn serve(&mut self, request: Request) -> Flow {
        // Whoever asked may have given up waiting; what was asked for is done all the same.
        let _given_up = match request {
            Request::Write(txn, reply) => {
                self.commit(vec![(txn, reply)]);
                Ok(())
            }
            Request::Compact(revision, reply) => reply.send(self.compact(revision)).map_err(|_| ()),
            Request::Move(records, reply) => reply.send(self.rewrite(&records)).map_err(|_| ()),
            Request::Sync(reply) => reply.send(self.make_durable()).map_err(|_| ()),
            Request::Freeze(reply) => reply.send(self.freeze()).map_err(|_| ()),
            Request::Close(reply) => {
                let closed = self.close();
                self.state.end(Error::Closed);
                let _given_up = reply.send(closed);
                return Flow::End;
            }
            Request::Abandon => return Flow::End,
        };
        Flow::Continue
    }

    /// Decides, writes, shows and answers a group of transactions.
    fn commit(&mut self, writes: Vec<(Txn, Reply<Outcome>)>) {
        if writes.is_empty() {
            return;
        }
        self.index_keeps_up();
        if let Some(ended) = self.state.ended.get() {
            return answer(writes, |_| Err(ended.clone()));
        }
        let full = self.is_full();
        self.set_full(full);
        self.commit_group(writes, full);
    }

    /// As [`Writer::commit`]; on a full disk only what frees space.
    fn commit_group(&mut self, mut writes: Vec<(Txn, Reply<Outcome>)>, full: bool) {
        if full {
            let (puts, rest) = writes.into_iter().partition(|(txn, _)| has_puts(txn));
            answer(puts, |_| Err(no_space()));
            writes = rest;
        }
        let state = Arc::clone(&self.state);
        let mut group = Group::new(&state, self.appender.horizon(REACH), self.revision);
        let mut outcomes: Vec<_> = writes.iter().map(|(txn, _)| group.decide(txn)).collect();
        if group.drafts.is_empty() {
            return answer(writes, |_| outcomes.remove(0));
        }
        let leave = if writes.iter().any(|(txn, _)| has_puts(txn)) { Leave::Two } else { Leave::One };
        match self.write(&group.drafts, group.revision, group.durable, leave) {
            Ok(places) => {
                self.show(group, &places);
                let mut outcomes = outcomes.into_iter();
                answer(writes, |_| outcomes.next().unwrap_or(Err(Error::Closed)));
            }
            Err(AppendError::NoSpace(_)) if leave == Leave::One => answer(writes, |_| Err(no_space())),
            Err(AppendError::NoSpace(_)) => {
                // What only deletes still gets its chance.
                self.set_full(true);
                self.commit_group(writes, true);
            }
            Err(AppendError::Failed(error)) => {
                let error = self.poison("write", &error);
                answer(writes, |_| Err(error.clone()));
            }
        }
    }

    fn write(
        &mut self,
        drafts: &[Draft],
        revision: Revision,
        durable: bool,
        leave: Leave,
    ) -> Result<Vec<Place>, AppendError> {
        let sync_follows = durable || revision > self.reserved.0;
        let places = self.append(drafts, revision, self.state.floor(), leave, sync_follows)?;
        if sync_follows {
            self.sync().map_err(AppendError::Failed)?;
        }
        Ok(places)
    }

    fn append(
        &mut self,
        drafts: &[Draft],
        revision: Revision,
        floor: Revision,
        leave: Leave,
        sync_follows: bool,
    ) -> Result<Vec<Place>, AppendError> {
        let stamp = Stamp { revision, floor, reserved: revision + RESERVE };
        let segment = self.appender.end().segment;
        let places = self.appender.append(drafts, stamp, leave, sync_follows)?;
        if self.appender.end().segment > segment {
            // The next one is to be ready in time.
            self.upkeep.ask();
        }
        self.reserved.1 = stamp.reserved;
        self.sync_by.get_or_insert_with(|| Instant::now() + self.options.relaxed_delay);
        Ok(places)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.appender.sync()?;
        self.sync_by = None;
        self.reserved.0 = self.reserved.1;
        self.state.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn sync_or_end(&mut self) {
        match self.sync() {
            Ok(()) => self.state.durable.store(self.revision, Ordering::Release),
            Err(error) => drop(self.poison("sync", &error)),
        }
    }

    /// Makes a written group visible.
    fn show(&mut self, group: Group<'_>, places: &[Place]) {
        let slots = group.slots(places);
        let added: u64 = slots.iter().map(|(_, slot)| slot.live_bytes()).sum();
        let live = self.state.live.load(Ordering::Relaxed) + added;
        self.state.live.store(live.saturating_sub(group.overwritten_bytes(places)), Ordering::Relaxed);
        self.state.writes.fetch_add(group.writes, Ordering::Relaxed);
        self.revision = group.revision;
        if self.appender.is_durable() {
            self.state.durable.store(self.revision, Ordering::Release);
        }
        self.state.index.apply(slots);
        self.state.feed.publish(group.batches);
        let unindexed = self.state.unindexed.fetch_add(added, Ordering::Relaxed) + added;
        if self.state.index.waiting() >= self.options.index_batch || unindexed >= UNINDEXED {
            self.upkeep.ask();
        }
    }

    fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        self.alive()?;
        if revision > self.revision {
            return Err(Error::FutureRevision { asked: revision, newest: self.revision });
        }
        if revision > self.state.floor() {
            self.append(&[], self.revision, revision, Leave::None, true).map_err(|error| self.explain(error))?;
            self.sync().map_err(|error| self.poison("sync", &error))?;
            self.state.durable.store(self.revision, Ordering::Release);
            self.state.floor.store(revision, Ordering::Release);
        }
        self.upkeep.ask();
        Ok(())
    }

    fn rewrite(&mut self, records: &[(Bytes, Place)]) -> Result<(), Error> {
        self.alive()?;
        // What an earlier removal has freed comes first; on a full disk this fails, and the last spare is for this.
        let _still_full = self.appender.make_spares();
        let mut drafts = Vec::new();
        for (key, place) in records {
            let slot = self.state.index.newest(key).map_err(|error| self.state.index_failed(&error))?;
            if slot.is_none_or(|slot| slot.place != *place || slot.deleted) {
                continue;
            }
            let Some(record) = self.state.log.read(*place)? else { continue };
            drafts.push(Draft {
                kind: Kind::Moved,
                key: key.clone(),
                value: record.value,
                revision: record.head.revision,
                create_revision: record.head.create_revision,
                version: record.head.version,
                previous: None,
            });
        }
        if !drafts.is_empty() {
            let places = self.append(&drafts, self.revision, self.state.floor(), Leave::None, false);
            let places = places.map_err(|error| self.explain(error))?;
            self.state.index.apply(
                drafts
                    .into_iter()
                    .zip(places)
                    .map(|(draft, place)| (draft.key, Slot { revision: draft.revision, place, deleted: false })),
            );
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), Error> {
        self.alive()?;
        self.sync().map_err(|error| self.poison("sync", &error))?;
        self.state.durable.store(self.revision, Ordering::Release);
        Ok(())
    }

    fn freeze(&mut self) -> Result<Covered, Error> {
        self.make_durable()?;
        self.state.index.freeze();
        self.state.unindexed.store(0, Ordering::Relaxed);
        Ok(Covered {
            log: self.state.log.id(),
            position: self.appender.end(),
            revision: self.revision,
            floor: self.state.floor(),
            reserved: self.reserved.0,
            live: self.state.live.load(Ordering::Relaxed),
            gaps: self.state.gaps.clone(),
        })
    }

    /// The last batch says that everything before it is durable and that no revision was given beyond it.
    fn close(&mut self) -> Result<(), Error> {
        self.alive()?;
        self.sync().map_err(|error| self.poison("sync", &error))?;
        let stamp = Stamp { revision: self.revision, floor: self.state.floor(), reserved: self.revision };
        self.appender.append(&[], stamp, Leave::None, true).map_err(|error| self.explain(error))?;
        self.sync().map_err(|error| self.poison("sync", &error))?;
        self.state.durable.store(self.revision, Ordering::Release);
        Ok(())
    }

    fn alive(&self) -> Result<(), Error> {
        self.state.ended.get().map_or(Ok(()), |ended| Err(ended.clone()))
    }

    /// Whether only what frees space may be written: a spare segment is missing and cannot be made.
    fn is_full(&mut self) -> bool {
        self.full_until.is_some_and(|until| Instant::now() < until) || self.appender.make_spares().is_err()
    }

    fn set_full(&mut self, full: bool) {
        let retry = Instant::now() + self.options.full_retry;
        self.full_until = full.then(|| self.full_until.filter(|until| Instant::now() < *until).unwrap_or(retry));
        if self.state.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, "disk space");
            self.upkeep.ask();
        }
    }

    /// Waits while the index is too far behind, so that memory stays bounded.
    fn index_keeps_up(&self) {
        if self.state.index.waiting() > self.options.index_batch * 2 {
            self.state.index.wait_until_stored();
        }
    }

    fn explain(&self, error: AppendError) -> Error {
        match error {
            AppendError::NoSpace(_) => no_space(),
            AppendError::Failed(error) => self.poison("write", &error),
        }
    }

    fn poison(&self, what: &str, error: &io::Error) -> Error {
        let error = Error::Poisoned(format!("{what} failed: {error}"));
        self.state.log.distrust_end();
        self.state.end(error.clone());
        error
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    End,
}

fn answer(writes: Vec<(Txn, Reply<Outcome>)>, mut outcome: impl FnMut(&Txn) -> Result<Outcome, Error>) {
    for (txn, reply) in writes {
        // Whoever gave up waiting does not learn it; the write has happened all the same.
        let _given_up = reply.send(outcome(&txn));
    }
}

/// What a user is told who wants to write on a full disk.
fn no_space() -> Error {
    let advice = "the disk of the store is full: only deletes are possible until there is space on it again";
    Error::NoSpace(advice.to_owned())
}

fn has_puts(txn: &Txn) -> bool {
    txn.ops.iter().any(|op| matches!(op, Op::Put(..)))
}

fn size_of(txn: &Txn) -> usize {
    txn.ops.iter().map(|op| if let Op::Put(key, value) = op { key.len() + value.len() } else { 0 }).sum()
}
