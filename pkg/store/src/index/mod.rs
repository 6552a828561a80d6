//! The index: key -> the place in the log of its newest record.
//!
//! Two layers. Recent changes are in memory; from time to time they are written to [`sorted`] (sled) together with the
//! position in the log up to which it is complete. Only the newest record of a key is indexed: older ones are found by
//! following the records' own links, so a key that is overwritten a thousand times costs one entry, and history none.
//!
//! The index is disposable. sled may lose or spoil data at a power cut, so it is only ever changed between two durable
//! [`mark`]s; if the machine went down in between, or anything about it is odd, it is thrown away and built again.

mod mark;
mod sorted;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::index::mark::Mark;
use crate::index::sorted::Sorted;
use crate::log::format::{Place, Position};
use crate::model::Revision;

/// The newest record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) revision: Revision,
    pub(crate) place: Place,
    /// Whether it is a delete. Kept until the delete is compacted.
    pub(crate) deleted: bool,
}

impl Slot {
    /// Bytes of the log that must be kept for this slot even after a compaction.
    pub(crate) fn live_bytes(&self) -> u64 {
        if self.deleted { 0 } else { self.place.length.into() }
    }
}

/// What is known about the log up to the position that the index covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// The log that it is an index of.
    pub(crate) log: u64,
    /// Everything before this position is in the index.
    pub(crate) position: Position,
    /// The newest revision there.
    pub(crate) revision: Revision,
    /// The compaction floor there.
    pub(crate) floor: Revision,
    /// As [`crate::log::format::BatchHeader::reserved`].
    pub(crate) reserved: Revision,
    /// Sum of [`Slot::live_bytes`].
    pub(crate) live: u64,
    /// Revisions that are lost: first and last.
    pub(crate) gaps: Vec<(Revision, Revision)>,
}

/// The index does not work any more; the text says why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("index: {0}")]
pub(crate) struct IndexError(pub(crate) String);

/// Keys of their own: a shared one would keep alive whatever buffer it was cut from.
type Slots = BTreeMap<Box<[u8]>, Slot>;

#[derive(Debug, Default)]
struct Recent {
    active: Slots,
    /// What is being written to sled.
    frozen: Arc<Slots>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    recent: RwLock<Recent>,
    sorted: Sorted,
    mark: Mark,
    /// How often something was stored.
    stored: (Mutex<u64>, Condvar),
    /// As if the disk had no space for sled.
    #[cfg(test)]
    pub(crate) cramped: std::sync::atomic::AtomicBool,
}

impl Index {
    /// Opens the index below `directory`, empty if there is none that can be used for the log `log`.
    pub(crate) fn open(
        directory: &Path,
        boot: &str,
        cache: u64,
        log: u64,
    ) -> Result<(Self, Option<Covered>), IndexError> {
        let mark = Mark::open(directory, boot)?;
        let path = directory.join("index");
        let kept = match mark.trusted().map(|()| Sorted::open(&path, cache)) {
            Ok(Ok((sorted, Some(covered)))) if covered.log == log => Ok((sorted, covered)),
            Ok(Ok((_, Some(_)))) => Err("it belongs to another log".to_owned()),
            Ok(Ok((_, None))) => Err("it is empty".to_owned()),
            Ok(Err(error)) => Err(error.0),
            Err(why) => Err(why),
        };
        match kept {
            Ok((sorted, covered)) => Ok((Self::over(sorted, mark), Some(covered))),
            Err(why) => {
                tracing::info!(%why, "building the index from the log");
                Ok((Self::over(Sorted::create(&path, cache)?, mark), None))
            }
        }
    }

    fn over(sorted: Sorted, mark: Mark) -> Self {
        Self {
            recent: RwLock::default(),
            sorted,
            mark,
            stored: Default::default(),
            #[cfg(test)]
            cramped: Default::default(),
        }
    }

    /// Throws everything away.
    pub(crate) fn reset(self, directory: &Path, cache: u64) -> Result<Self, IndexError> {
        let Self { sorted, mark, .. } = self;
        drop(sorted);
        Ok(Self::over(Sorted::create(&directory.join("index"), cache)?, mark))
    }

    /// The newest record of a key, be it a put or a delete.
    pub(crate) fn newest(&self, key: &[u8]) -> Result<Option<Slot>, IndexError> {
        let frozen = {
            let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = recent.active.get(key) {
                return Ok(Some(*slot));
            }
            Arc::clone(&recent.frozen)
        };
        // What leaves `frozen` has reached sled before.
        frozen.get(key).map_or_else(|| self.sorted.get(key), |slot| Ok(Some(*slot)))
    }

    /// About `limit` keys from `from` on (and before `end` unless that is empty) in order. Fewer only at the end.
    pub(crate) fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Slot)>, IndexError> {
        let bounds = (Bound::Included(from), if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) });
        if !end.is_empty() && from >= end {
            return Ok(Vec::new());
        }
        let (active, frozen) = {
            let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
            let active = recent.active.range::<[u8], _>(bounds).take(limit);
            let active: Vec<_> = active.map(|(key, slot)| (Bytes::copy_from_slice(key), *slot)).collect();
            (active, Arc::clone(&recent.frozen))
        };
        let sorted = self.sorted.range(bounds, limit)?;
        let frozen = frozen.range::<[u8], _>(bounds).take(limit);
        let frozen = frozen.map(|(key, slot)| (Bytes::copy_from_slice(key), *slot)).collect();
        // Each layer gave its first `limit` keys, so the first `limit` of all of them are complete.
        let mut all = overlaid(overlaid(sorted, frozen), active);
        all.truncate(limit);
        Ok(all)
    }

    /// Enters new records.
    pub(crate) fn apply(&self, slots: impl IntoIterator<Item = (Bytes, Slot)>) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        for (key, slot) in slots {
            match recent.active.get_mut(key.as_ref()) {
                Some(known) => *known = slot,
                None => drop(recent.active.insert(key.as_ref().into(), slot)),
            }
        }
    }

    /// How many entries wait to be written to sled, those being written included.
    pub(crate) fn waiting(&self) -> usize {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.active.len() + recent.frozen.len()
    }

    /// Whether the disk has the space that writing everything to sled takes. If not, it stays in memory.
    pub(crate) fn has_room(&self) -> Result<bool, IndexError> {
        #[cfg(test)]
        if self.cramped.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(false);
        }
        Ok(self.sorted.make_room(self.waiting())?)
    }

    /// Fixes what [`Index::store`] will write; ask [`Index::has_room`] before.
    pub(crate) fn freeze(&self) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        if recent.frozen.is_empty() {
            recent.frozen = Arc::new(std::mem::take(&mut recent.active));
        }
    }

    /// Writes what was frozen, and that it covers the log up to there; then forgets the deletes before the floor.
    pub(crate) fn store(&self, covered: &Covered) -> Result<(), IndexError> {
        let frozen = Arc::clone(&self.recent.read().unwrap_or_else(PoisonError::into_inner).frozen);
        self.mark.begin()?;
        self.sorted.store(&frozen, covered)?;
        self.sorted.forget_deletes(covered.floor)?;
        self.sorted.sync()?;
        self.mark.end()?;
        self.recent.write().unwrap_or_else(PoisonError::into_inner).frozen = Arc::default();
        *self.stored.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.stored.1.notify_all();
        Ok(())
    }

    /// If something is being stored, waits for its end, at most a second.
    pub(crate) fn wait_until_stored(&self) {
        let stored = self.stored.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *stored;
        if !self.recent.read().unwrap_or_else(PoisonError::into_inner).frozen.is_empty() {
            let waited = self.stored.1.wait_timeout_while(stored, Duration::from_secs(1), |now| *now == before);
            drop(waited);
        }
    }

    /// Makes the next start build a new one.
    pub(crate) fn distrust(&self) {
        if let Err(error) = self.mark.distrust() {
            tracing::error!(%error, "cannot mark the index as damaged; remove its directory before the next start");
        }
    }
}

/// Two layers in the order of their keys; of a key in both, what the upper one says.
fn overlaid(lower: Vec<(Bytes, Slot)>, upper: Vec<(Bytes, Slot)>) -> Vec<(Bytes, Slot)> {
    if lower.is_empty() {
        return upper;
    }
    let mut all = Vec::with_capacity(lower.len() + upper.len());
    let mut lower = lower.into_iter().peekable();
    for (key, slot) in upper {
        all.extend(std::iter::from_fn(|| lower.next_if(|(below, _)| *below < key)));
        let _hidden = lower.next_if(|(below, _)| *below == key);
        all.push((key, slot));
    }
    all.extend(lower);
    all
}
