//! The log: the only truth of the store. Numbered segments of batches of checked records; see [`format`] for the bytes,
//! [`append`] for writing, [`recovery`] for what happens at the start.

pub(crate) mod append;
pub(crate) mod boot;
pub(crate) mod build;
pub(crate) mod direct;
pub(crate) mod disk;
pub(crate) mod format;
pub(crate) mod ready;
pub(crate) mod recovery;
pub(crate) mod salvage;
pub(crate) mod scan;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod tail;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::error::Error;
use crate::log::disk::{Disk, DiskFile, read_up_to};
use crate::log::format::{Place, Position, Record, SegmentHeader, decode_record, own_record};
use crate::log::ready::Ready;
use crate::log::scan::Scan;
use crate::log::tail::Tail;
use crate::model::Revision;

/// One file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    file: Box<dyn DiskFile>,
}

impl Segment {
    pub(crate) fn name(number: u32) -> String {
        format!("{number:08}.log")
    }

    fn number_of(name: &str) -> Option<u32> {
        name.strip_suffix(".log").filter(|digits| digits.len() == 8)?.parse().ok()
    }

    /// Fills `bytes` from this offset.
    fn read(&self, bytes: &mut [u8], offset: u32) -> Result<(), Error> {
        let read = read_up_to(self.file.as_ref(), bytes, offset.into());
        if read.map_err(|error| self.damaged(offset, error))? < bytes.len() {
            return Err(self.damaged(offset, "the file ends within a record"));
        }
        Ok(())
    }

    fn damaged(&self, offset: u32, what: impl ToString) -> Error {
        Error::Damaged { file: Self::name(self.header.number), offset: offset.into(), what: what.to_string() }
    }
}

/// How much is read at once, unless a single record is larger.
const WINDOW: u32 = 256 << 10;

/// A part of a segment.
#[derive(Debug, Default)]
struct Window {
    range: std::ops::Range<u32>,
    buffer: Vec<u8>,
}

impl Window {
    /// The bytes of a place, reading from there on, up to `end` at most, when they are not in the window.
    fn bytes(&mut self, segment: &Segment, place: Place, end: u32) -> Result<&[u8], Error> {
        let start = place.position.offset;
        if place.end().offset > self.range.end {
            let length = end.saturating_sub(start).min(WINDOW).max(place.length);
            self.buffer.resize(length as usize, 0);
            segment.read(&mut self.buffer, start)?;
            self.range = start..start.saturating_add(length);
        }
        let from = start.saturating_sub(self.range.start) as usize;
        Ok(self.buffer.get(from..from + place.length as usize).unwrap_or_default())
    }
}

/// All segments, for readers. Whoever holds a [`Segment`] can read it even after it was removed.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    id: u64,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    ready: Ready,
    tail: RwLock<Tail>,
}

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, id: u64, segments: BTreeMap<u32, Arc<Segment>>) -> Arc<Self> {
        let (segments, ready, tail) = (RwLock::new(segments), Ready::default(), RwLock::default());
        Arc::new(Self { disk, id, segments, ready, tail })
    }

    /// Tells this log from every other one.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.read_segments().get(&number).cloned()
    }

    /// The headers of all segments, oldest first.
    pub(crate) fn headers(&self) -> Vec<SegmentHeader> {
        self.read_segments().values().map(|segment| segment.header).collect()
    }

    /// How many bytes the files of the log have.
    pub(crate) fn size(&self) -> io::Result<u64> {
        let segments: Vec<_> = self.read_segments().values().cloned().collect();
        segments.iter().map(|segment| segment.file.size()).sum()
    }

    /// The record at a place; `None` when its segment has been removed.
    pub(crate) fn read(&self, place: Place) -> Result<Option<Record>, Error> {
        let Some(segment) = self.segment(place.position.segment) else { return Ok(None) };
        let kept = self.tail.read().unwrap_or_else(PoisonError::into_inner).bytes(place);
        let bytes = match kept {
            Some(bytes) => bytes,
            None => {
                let mut bytes = vec![0; place.length as usize];
                segment.read(&mut bytes, place.position.offset)?;
                Bytes::from(bytes)
            }
        };
        let record = own_record(bytes, place.position);
        record.map(Some).map_err(|what| segment.damaged(place.position.offset, what))
    }

    /// The records at these places, in the order given; `None` as of [`Log::read`]. Each owns just its bytes, and what
    /// lies close together in the log is read at once.
    pub(crate) fn read_all(&self, places: impl Iterator<Item = Place>) -> Result<Vec<Option<Record>>, Error> {
        let mut wanted: Vec<(usize, Place)> = places.enumerate().collect();
        let mut found = vec![None; wanted.len()];
        wanted.sort_unstable_by_key(|(_, place)| place.position);
        let mut window = Window::default();
        for run in wanted.chunk_by(|(_, one), (_, next)| one.is_near(next)) {
            let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { continue };
            let Some(segment) = self.segment(first.position.segment) else { continue };
            for (index, place) in run {
                let bytes = window.bytes(&segment, *place, last.end().offset)?;
                let record = decode_record(bytes, place.position);
                let record = record.map_err(|what| segment.damaged(place.position.offset, what))?;
                if let Some(slot) = found.get_mut(*index) {
                    *slot = Some(record.copied());
                }
            }
            window.range = 0..0;
        }
        Ok(found)
    }

    /// Starts to read at a position.
    pub(crate) fn scan(&self, from: Position) -> Option<Scan> {
        Some(Scan::new(self.segment(from.segment)?, self.id, from.offset))
    }

    /// Where to start reading to see everything from `revision` on.
    pub(crate) fn start_of(&self, revision: Revision) -> Option<Position> {
        let segments = self.read_segments();
        let holds = segments.values().rev().find(|segment| segment.header.revision < revision);
        let first = holds.or_else(|| segments.values().next())?;
        Some(Position::new(first.header.number, format::SEGMENT_HEADER))
    }

    /// Removes the oldest segment. Everything that is still needed of it must be elsewhere, durably. Its file may become
    /// that of a later segment, unless somebody is still reading it.
    pub(crate) fn remove_oldest(&self, segment_size: u32) -> io::Result<()> {
        let Some((number, segment)) = self.write_segments().pop_first() else { return Ok(()) };
        let name = Segment::name(number);
        let reusable = match Arc::into_inner(segment) {
            Some(segment) => segment.file.size()? == u64::from(segment_size),
            None => false,
        };
        if !(reusable && self.ready.keep(self.disk.as_ref(), &name)?) {
            self.disk.remove(&name)?;
        }
        self.disk.sync_names()
    }

    /// Sees to it that the next segment can be begun at once.
    pub(crate) fn prepare(&self, segment_size: u32) -> io::Result<()> {
        self.ready.prepare(self.disk.as_ref(), segment_size)
    }

    /// Gives back the space of files that are kept ready although fewer have been needed lately.
    pub(crate) fn give_back(&self) -> io::Result<()> {
        self.ready.settle(self.disk.as_ref())
    }

    /// Makes the next start assume that unsynced writes are gone: after a failed sync the kernel may have dropped them.
    pub(crate) fn distrust_end(&self) {
        if let Err(error) = boot::remember(self.disk.as_ref(), boot::UNKNOWN) {
            tracing::error!(%error, "cannot note that the last writes may be lost");
        }
    }

    /// Keeps what was written to the end of the log, until it is sure to be in the page cache.
    fn remember(&self, segment: &Segment, position: Position, written: &[u8]) {
        let settled = self.tail.write().unwrap_or_else(PoisonError::into_inner).extend(position, written);
        if let Some(part) = settled {
            segment.file.expect(part);
        }
    }

    fn add(&self, segment: Arc<Segment>) {
        self.write_segments().insert(segment.header.number, segment);
    }

    fn read_segments(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_segments(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }
}
