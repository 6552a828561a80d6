//! What the threads and the readers of a store share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::engine::feed::Feed;
use crate::engine::options::Stats;
use crate::error::Error;
use crate::index::{Index, IndexError, Slot};
use crate::log::Log;
use crate::log::format::{Previous, Record};
use crate::model::{KeyValue, Page, Range, Revision};

/// Keys looked up at once in a range: between two such steps, newer things may happen.
const STEP: usize = 512;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: Arc<Log>,
    pub(crate) index: Index,
    pub(crate) feed: Feed,
    pub(crate) durable: AtomicU64,
    pub(crate) floor: AtomicU64,
    pub(crate) live: AtomicU64,
    /// Bytes of the log that the next start would have to read because they are not in sled yet.
    pub(crate) unindexed: AtomicU64,
    /// Lost revisions, first and last. The last one is the revision after the jump, and can be read.
    pub(crate) gaps: Vec<(Revision, Revision)>,
    pub(crate) writes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) full: AtomicBool,
    /// Why nothing is written any more.
    pub(crate) ended: OnceLock<Error>,
}

/// What following the records of one key led to.
enum Trail {
    Found(Record),
    Absent,
    /// A segment was removed meanwhile.
    Lost,
}

impl State {
    pub(crate) fn floor(&self) -> Revision {
        self.floor.load(Ordering::Acquire)
    }

    /// Ends all writing for good, for this reason (only the first one counts).
    pub(crate) fn end(&self, why: Error) {
        if matches!(why, Error::Poisoned(_)) {
            tracing::error!(%why, "the store stops writing");
        }
        let _first_reason_stays = self.ended.set(why);
        self.feed.wake_all();
    }

    /// Turns an error of the index into one of the store. The index will be built again at the next start.
    pub(crate) fn index_failed(&self, error: &IndexError) -> Error {
        self.index.distrust();
        let error = Error::Poisoned(error.to_string());
        self.end(error.clone());
        error
    }

    /// Refuses revisions that cannot be read; `for_watch` ones are the first to be seen, others the state to be seen.
    pub(crate) fn check_readable(&self, asked: Revision, for_watch: bool) -> Result<(), Error> {
        let oldest = self.floor();
        if asked < oldest {
            return Err(Error::Compacted { asked, oldest });
        }
        let lost = |(first, last): &&(Revision, Revision)| match for_watch {
            true => asked > *first && asked <= *last,
            false => asked >= *first && asked < *last,
        };
        self.gaps.iter().find(lost).map_or(Ok(()), |(_, last)| Err(Error::Compacted { asked, oldest: *last }))
    }

    /// The newest record of a key.
    pub(crate) fn newest(&self, key: &[u8]) -> Result<Option<(Slot, Record)>, Error> {
        loop {
            let Some(slot) = self.index.newest(key).map_err(|error| self.index_failed(&error))? else {
                return Ok(None);
            };
            match self.log.read(slot.place)? {
                Some(record) => return Ok(Some((slot, record))),
                // Deletes are not moved: it went when nobody could ask for what was before it any more.
                None if slot.deleted => return Ok(None),
                // The record has been moved, so the index knows better by now.
                None => {}
            }
        }
    }

    /// The value of a key at a revision.
    pub(crate) fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, Error> {
        loop {
            let Some(slot) = self.index.newest(key).map_err(|error| self.index_failed(&error))? else {
                return Ok(None);
            };
            match self.follow(slot, at)? {
                Trail::Found(record) => return Ok(Some(key_value(record))),
                Trail::Absent => return Ok(None),
                Trail::Lost => self.check_readable(at, false)?,
            }
        }
    }

    /// What an event overwrote; `None` if that was a delete.
    pub(crate) fn previous(&self, previous: Option<Previous>, asked: Revision) -> Result<Option<KeyValue>, Error> {
        let Some(previous) = previous else { return Ok(None) };
        match self.log.read(previous.place)? {
            Some(record) if record.head.kind.is_delete() => Ok(None),
            Some(record) => Ok(Some(key_value(record))),
            None => Err(Error::Compacted { asked, oldest: self.floor() }),
        }
    }

    pub(crate) fn range(&self, range: &Range) -> Result<Page, Error> {
        loop {
            let newest = self.feed.visible();
            let revision = range.at.unwrap_or(newest);
            if revision > newest {
                return Err(Error::FutureRevision { asked: revision, newest });
            }
            self.check_readable(revision, false)?;
            let page = self.range_at(range, revision);
            match self.check_readable(revision, false) {
                // Compacted while it was read: what was found may have holes.
                Err(_) if range.at.is_none() => {}
                Err(error) => return Err(error),
                Ok(()) => return page,
            }
        }
    }

    fn range_at(&self, range: &Range, revision: Revision) -> Result<Page, Error> {
        let mut page = Page { items: Vec::new(), more: false, count: 0, revision };
        let mut from = range.start.clone();
        loop {
            let wanted = if range.limit == 0 { STEP } else { range.limit - page.items.len() };
            let step = if wanted == 0 { STEP } else { wanted.min(STEP) };
            let mut slots = self.index.scan(&from, &range.end, step).map_err(|error| self.index_failed(&error))?;
            let mut is_last = slots.len() < step;
            if wanted > 0 {
                let cut = range.bytes != 0 && cut(&mut slots, range.bytes, &page.items);
                self.settle_all(&slots, revision, &mut page.items)?;
                page.count = page.items.len();
                is_last &= !cut;
                if cut && !page.items.is_empty() {
                    page.more = true;
                    return Ok(page);
                }
            } else {
                for (key, slot) in &slots {
                    if is_direct(slot, revision) || self.settle(key, *slot, revision)?.is_some() {
                        page.count += 1;
                        page.more = true;
                    }
                }
            }
            match slots.last() {
                Some((key, _)) if !is_last => from = [key.as_ref(), &[0]].concat().into(),
                _ => return Ok(page),
            }
        }
    }

    /// The values of these keys at a revision, those that exist. What was not overwritten since is read together.
    fn settle_all(&self, slots: &[(Bytes, Slot)], at: Revision, values: &mut Vec<KeyValue>) -> Result<(), Error> {
        let direct = slots.iter().filter(|(_, slot)| is_direct(slot, at)).map(|(_, slot)| slot.place);
        let mut records = self.log.read_all(direct)?.into_iter();
        for (key, slot) in slots {
            let record = if is_direct(slot, at) { records.next().flatten() } else { None };
            match record {
                Some(record) => values.push(key_value(record)),
                None => values.extend(self.settle(key, *slot, at)?),
            }
        }
        Ok(())
    }

    fn settle(&self, key: &Bytes, slot: Slot, at: Revision) -> Result<Option<KeyValue>, Error> {
        match self.follow(slot, at)? {
            Trail::Found(record) => Ok(Some(key_value(record))),
            Trail::Absent => Ok(None),
            Trail::Lost => self.get(key, at),
        }
    }

    /// Goes back from the newest record of a key to the one that was true at a revision.
    fn follow(&self, slot: Slot, at: Revision) -> Result<Trail, Error> {
        if slot.revision <= at && slot.deleted {
            return Ok(Trail::Absent);
        }
        let (mut revision, mut place) = (slot.revision, slot.place);
        loop {
            let Some(record) = self.log.read(place)? else { return Ok(Trail::Lost) };
            if revision <= at {
                return Ok(if record.head.kind.is_delete() { Trail::Absent } else { Trail::Found(record) });
            }
            let Some(previous) = record.head.previous else { return Ok(Trail::Absent) };
            (revision, place) = (previous.revision, previous.place);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let (watches, ring_bytes) = self.feed.load();
        Stats {
            revision: self.feed.visible(),
            durable_revision: self.durable.load(Ordering::Acquire),
            oldest_revision: self.floor(),
            segments: self.log.headers().len(),
            log_bytes: self.log.size().unwrap_or_default(),
            live_bytes: self.live.load(Ordering::Relaxed),
            index_waiting: self.index.waiting(),
            watches,
            ring_bytes,
            writes: self.writes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
        }
    }
}

/// Drops the slots that do not fit into so many bytes any more, by the size of what is written now, which may be longer or
/// shorter than what was; whether there were some. The first one of all fits.
fn cut(slots: &mut Vec<(Bytes, Slot)>, bytes: usize, before: &[KeyValue]) -> bool {
    let all = slots.len();
    let mut size: usize = before.iter().map(|item| item.key.len() + item.value.len()).sum();
    let fits = |(_, slot): &(Bytes, Slot)| {
        let is_first = size == 0;
        size += if slot.deleted { 0 } else { slot.place.length as usize };
        is_first || size <= bytes
    };
    slots.truncate(slots.iter().map(fits).take_while(|fits| *fits).count());
    slots.len() < all
}

/// Whether the newest record of a key is what was true at a revision, and a value.
fn is_direct(slot: &Slot, at: Revision) -> bool {
    slot.revision <= at && !slot.deleted
}

/// A record as readers see it.
pub(crate) fn key_value(record: Record) -> KeyValue {
    let Record { head, key, value } = record;
    KeyValue { key, value, create_revision: head.create_revision, mod_revision: head.revision, version: head.version }
}
