//! The part of the index that is on disk: sled. Nothing of sled leaves this file.
//!
//! | key | value |
//! |---|---|
//! | `k` key | [`Slot`] |
//! | `t` revision (big-endian) key | nothing: a delete that was indexed at this revision |
//! | `c` | [`Covered`] |

use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::index::{Covered, IndexError, Slot, Slots};
use crate::log::format::{Place, Position};
use crate::model::Revision;

const COVERED: &[u8] = b"c";
/// Entries per sled batch: readers wait while one is applied.
const BATCH: usize = 256;
const LAYOUT: u64 = 1;
/// Bytes by which sled's file may grow when it stores nothing: it writes whole segments of 512 KiB, some ahead.
const GROWTH: u64 = 2 << 20;
/// And for each entry: what sled writes is a page with the entry in it.
const GROWTH_PER_ENTRY: u64 = 1024;

#[derive(Debug)]
pub(super) struct Sorted {
    db: sled::Db,
    path: PathBuf,
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        Self(error.to_string())
    }
}

impl Sorted {
    /// Opens what is there, with what it covers.
    pub(super) fn open(path: &Path, cache: u64) -> Result<(Self, Option<Covered>), IndexError> {
        // sled panics on some damaged files.
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, IndexError> {
            let config = sled::Config::new().path(path).cache_capacity(cache).mode(sled::Mode::LowSpace);
            let db = config.flush_every_ms(None).open()?;
            let covered = db.get(COVERED)?;
            Ok((Self { db, path: path.to_owned() }, covered))
        }));
        let (sorted, covered) = opened.map_err(|_| IndexError("sled cannot open its files".to_owned()))??;
        Ok((sorted, covered.map(|bytes| decode_covered(&bytes)).transpose()?))
    }

    /// Starts with nothing.
    pub(super) fn create(path: &Path, cache: u64) -> Result<Self, IndexError> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self::open(path, cache)?.0),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slot>, IndexError> {
        self.db.get(slot_key(key))?.map(|bytes| decode_slot(&bytes)).transpose()
    }

    pub(super) fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<(Bytes, Slot)>, IndexError> {
        let upper = match bounds.1 {
            Bound::Unbounded => Bound::Excluded(vec![b'k' + 1]),
            bound => bound.map(slot_key),
        };
        let entries = self.db.range((bounds.0.map(slot_key), upper)).take(limit);
        entries
            .map(|entry| {
                let (key, slot) = entry?;
                Ok((Bytes::copy_from_slice(key.get(1..).unwrap_or_default()), decode_slot(&slot)?))
            })
            .collect()
    }

    /// Takes the space that storing so many entries may need, behind the end of sled's file; false when the disk has not
    /// got it. After a write that found no space, sled is of no use any more, so none must be tried.
    pub(super) fn make_room(&self, entries: usize) -> std::io::Result<bool> {
        let file = File::options().write(true).open(self.path.join("db"))?;
        let size = file.metadata()?.len() + GROWTH + GROWTH_PER_ENTRY * entries as u64;
        let wanted = i64::try_from(size).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, wanted) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(true),
            Err(Errno::ENOSPC | Errno::EDQUOT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn store(&self, slots: &Slots, covered: &Covered) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (number, (key, slot)) in slots.iter().enumerate() {
            batch.insert(slot_key(key), encode_slot(slot));
            if slot.deleted {
                batch.insert(delete_key(slot.revision, key), &[]);
            }
            if number % BATCH == BATCH - 1 {
                self.db.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        self.db.apply_batch(batch)?;
        self.db.insert(COVERED, encode_covered(covered))?;
        Ok(())
    }

    /// Drops the deletes before `floor` that are still the newest of their key.
    pub(super) fn forget_deletes(&self, floor: Revision) -> Result<(), IndexError> {
        for entry in self.db.range(vec![b't']..delete_key(floor, &[])).keys() {
            let entry = entry?;
            let Some((revision, key)) = entry.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) else { continue };
            let slot = self.get(key)?;
            let mut batch = sled::Batch::default();
            if slot.is_some_and(|slot| slot.deleted && slot.revision == Revision::from_be_bytes(*revision)) {
                batch.remove(slot_key(key));
            }
            batch.remove(&entry);
            self.db.apply_batch(batch)?;
        }
        Ok(())
    }

    /// Makes everything durable. sled's own flush does not: it only starts the writing (`sync_file_range`).
    pub(super) fn sync(&self) -> Result<(), IndexError> {
        self.db.flush()?;
        sync_below(&self.path)?;
        Ok(())
    }
}

fn sync_below(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        } else {
            match File::open(entry.path()) {
                // sled replaces its snapshot files from a thread of its own.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            }
        }
    }
    File::open(path)?.sync_all()
}

fn slot_key(key: &[u8]) -> Vec<u8> {
    [b"k", key].concat()
}

fn delete_key(revision: Revision, key: &[u8]) -> Vec<u8> {
    [b"t".as_slice(), &revision.to_be_bytes(), key].concat()
}

fn encode_slot(slot: &Slot) -> Vec<u8> {
    let mut out = Vec::with_capacity(21);
    out.put_u64(slot.revision);
    out.put_u64(slot.place.position.to_u64());
    out.put_u32(slot.place.length);
    out.put_u8(slot.deleted.into());
    out
}

fn decode_slot(bytes: &[u8]) -> Result<Slot, IndexError> {
    let mut numbers = Numbers(bytes);
    let slot = numbers.u64().zip(numbers.u64()).zip(numbers.u32());
    let ((revision, position), length) = slot.ok_or_else(|| IndexError("an entry is too short".to_owned()))?;
    let deleted = numbers.0 == [1];
    Ok(Slot { revision, place: Place { position: Position::from_u64(position), length }, deleted })
}

fn encode_covered(covered: &Covered) -> Vec<u8> {
    let Covered { log, position, revision, floor, reserved, live, gaps } = covered;
    let mut out = Vec::new();
    for number in [LAYOUT, *log, position.to_u64(), *revision, *floor, *reserved, *live] {
        out.put_u64(number);
    }
    for (first, last) in gaps {
        out.put_u64(*first);
        out.put_u64(*last);
    }
    out
}

fn decode_covered(bytes: &[u8]) -> Result<Covered, IndexError> {
    let mut numbers = Numbers(bytes);
    if numbers.u64() != Some(LAYOUT) {
        return Err(IndexError("its layout is of another version".to_owned()));
    }
    let covered = (|| {
        let (log, position) = (numbers.u64()?, Position::from_u64(numbers.u64()?));
        let (revision, floor, reserved, live) = (numbers.u64()?, numbers.u64()?, numbers.u64()?, numbers.u64()?);
        let mut gaps = Vec::new();
        while let Some(gap) = numbers.u64().zip(numbers.u64()) {
            gaps.push(gap);
        }
        Some(Covered { log, position, revision, floor, reserved, live, gaps })
    })();
    covered.ok_or_else(|| IndexError("what it covers is unreadable".to_owned()))
}

/// Takes big-endian numbers off the front of a slice.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*head))
    }

    fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*head))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Many small rounds and some large ones, over keys as Kubernetes has them: sled never writes beyond what was taken
    /// before, in its own file or in another one.
    #[test]
    fn storing_fits_into_the_room_that_was_made() {
        let directory = tempfile::tempdir().unwrap();
        let sorted = Sorted::create(&directory.path().join("index"), 1 << 20).unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let covered = Covered {
            log: 1,
            position: Position::new(1, 64),
            revision: 1,
            floor: 1,
            reserved: 1,
            live: 0,
            gaps: vec![],
        };
        for round in 0..20 {
            let count = [3, 40, 400, 4000, 16_000][round % 5];
            let slots: Slots = (0..count)
                .map(|_| {
                    let number: u32 = random.random_range(0..100_000);
                    let key = format!("/registry/core/configmaps/namespace-{}/object-{number}", number % 97);
                    let place = Place { position: Position::new(1, number), length: 7 };
                    (key.into_bytes().into(), Slot { revision: round as u64, place, deleted: number.is_multiple_of(5) })
                })
                .collect();
            assert!(sorted.make_room(slots.len()).unwrap());
            let taken = blocks(&sorted.path);
            sorted.store(&slots, &covered).unwrap();
            sorted.forget_deletes(round as u64).unwrap();
            sorted.sync().unwrap();
            let now = blocks(&sorted.path);
            assert!(now <= taken, "round {round}, {count} entries: {taken} blocks were taken, now they are {now}");
        }
    }

    fn blocks(path: &Path) -> u64 {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| if entry.path().is_dir() { blocks(&entry.path()) } else { entry.metadata().unwrap().blocks() })
            .sum()
    }
}
