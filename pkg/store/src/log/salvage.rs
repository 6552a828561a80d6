//! Reading what is left of a damaged log: everything sound, wherever it is, and what is missing between.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::log::disk::Disk;
use crate::log::format::{BatchHeader, HeaderError, Kind, Place, Position, Record, RecordRef, SEGMENT_HEADER};
use crate::log::scan::{Next, Scan};
use crate::log::{Log, Segment, recovery};
use crate::model::Revision;

/// What is asked of a disk that cannot read some block.
const BLOCK: u32 = 4096;

/// A place in the log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// What is left.
#[derive(Debug)]
pub(crate) struct Salvage {
    log: Arc<Log>,
    newest: BTreeMap<Bytes, Newest>,
    pub(crate) damage: Vec<Damage>,
    /// Revisions, first and last, that cannot be read; without an end when nothing sound follows.
    pub(crate) lost: Vec<(Revision, Option<Revision>)>,
    /// Nobody can have seen a later one.
    pub(crate) revision: Revision,
    /// The newest that was read.
    seen: Revision,
    /// Whether something was damaged since.
    is_cut: bool,
}

/// The newest sound record of a key.
#[derive(Clone, Copy, Debug)]
struct Newest {
    revision: Revision,
    place: Place,
    is_deleted: bool,
}

/// Reads all there is.
pub(crate) fn salvage(disk: Arc<dyn Disk>) -> Result<Salvage, Error> {
    let explain = |error: std::io::Error| Error::Open(format!("cannot read the log: {error}"));
    let mut segments = BTreeMap::new();
    let mut headless = Vec::new();
    for number in recovery::numbers(disk.as_ref()).map_err(explain)? {
        let (segment, header) = recovery::load(disk.as_ref(), number).map_err(explain)?;
        match header {
            Ok(()) => {}
            Err(HeaderError::Unreadable) => headless.push(number),
            Err(HeaderError::Format(format)) => return Err(recovery::other_format(number, format)),
        }
        segments.insert(number, Arc::new(segment));
    }
    let sound = segments.values().find(|segment| !headless.contains(&segment.header.number));
    let Some(first) = sound.map(|segment| segment.header) else {
        return Err(Error::Open("no segment has a sound header: there is nothing to go by".to_owned()));
    };
    if let Some(other) = segments.values().find(|segment| ![0, first.log].contains(&segment.header.log)) {
        return Err(other.damaged(0, "the segment is of another log"));
    }
    let log = Log::new(disk, first.log, segments);
    let mut salvage = Salvage {
        newest: BTreeMap::new(),
        damage: Vec::new(),
        lost: Vec::new(),
        revision: first.reserved,
        seen: first.revision,
        is_cut: false,
        log: Arc::clone(&log),
    };
    let mut expected = None;
    for segment in log.headers() {
        if expected.is_some_and(|expected| expected != segment.number) {
            salvage.damaged(segment.number - 1, 0, "the segment is missing");
        }
        expected = Some(segment.number + 1);
        if headless.contains(&segment.number) {
            salvage.damaged(segment.number, 0, "the header is damaged");
        } else {
            salvage.revision = salvage.revision.max(segment.reserved);
        }
        salvage.segment(segment.number);
    }
    if salvage.is_cut {
        salvage.lost.push((salvage.seen + 1, None));
    }
    Ok(salvage)
}

impl Salvage {
    /// How many keys there are.
    pub(crate) fn keys(&self) -> usize {
        self.live().count()
    }

    /// The newest sound record of every key that has a value.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<Record, Error>> {
        self.live().map(|newest| {
            let gone = || Error::Open("a segment went while it was read".to_owned());
            self.log.read(newest.place)?.ok_or_else(gone)
        })
    }

    fn live(&self) -> impl Iterator<Item = &Newest> {
        self.newest.values().filter(|newest| !newest.is_deleted)
    }

    fn damaged(&mut self, segment: u32, offset: u32, what: impl ToString) {
        let file = Segment::name(segment);
        self.damage.push(Damage { file, offset: offset.into(), what: what.to_string() });
        self.is_cut = true;
    }

    fn segment(&mut self, number: u32) {
        let Some(mut scan) = self.log.scan(Position::new(number, SEGMENT_HEADER)) else { return };
        let mut unreadable = None;
        loop {
            let offset = scan.position().offset;
            match self.step(&mut scan) {
                Ok(true) => unreadable = None,
                Ok(false) => return,
                Err(error) => {
                    // One entry for all the blocks in a row.
                    if unreadable.is_none() {
                        self.damaged(number, offset, &error);
                    }
                    unreadable = Some(error);
                    scan.read_blocks(BLOCK);
                    scan.seek(offset.saturating_add(1).next_multiple_of(BLOCK));
                }
            }
        }
    }

    /// Reads one batch or what stands in its place; false at the end of the segment.
    fn step(&mut self, scan: &mut Scan) -> std::io::Result<bool> {
        let at = scan.position();
        let (is_blank, what) = match scan.peek()? {
            Next::Batch(header) => {
                let (records, broken) = scan.sound_records(&header)?;
                self.take(&header, &records, broken.is_some());
                if let Some((offset, what)) = broken {
                    self.damaged(at.segment, offset, what);
                }
                scan.skip(&header);
                return Ok(true);
            }
            Next::End => (true, "the end, but later data exists"),
            Next::Broken(what) => (false, what),
        };
        let following = self.log.segment(at.segment + 1).map(|next| next.header);
        // A header that cannot be read says nothing of what was before it.
        let fits = following.is_none_or(|next| next.log != self.log.id() || next.previous_end == at);
        let goes_on = scan.find(|_| true)?;
        if !(is_blank && fits) || goes_on {
            self.damaged(at.segment, at.offset, what);
        }
        Ok(goes_on)
    }

    /// Takes over the records of a batch. Of one that is cut, the last revision may be a part of a transaction.
    fn take(&mut self, header: &BatchHeader, records: &[RecordRef<'_>], is_cut: bool) {
        let doubtful = records.last().filter(|_| is_cut).map(|last| last.head.revision);
        let whole = || records.iter().filter(|record| Some(record.head.revision) != doubtful);
        let first = whole().filter_map(first_revision).min();
        let last = if is_cut { whole().filter_map(last_revision).max() } else { Some(header.revision) };
        if self.is_cut {
            let next = first.unwrap_or(header.revision + 1);
            if next > self.seen + 1 {
                self.lost.push((self.seen + 1, Some(next - 1)));
            }
            self.is_cut = false;
        }
        self.seen = self.seen.max(last.unwrap_or_default());
        self.revision = self.revision.max(header.reserved).max(header.revision);
        for record in whole().filter(|record| record.head.kind != Kind::Gap) {
            let (revision, place, is_deleted) = (record.head.revision, record.place, record.head.kind.is_delete());
            if self.newest.get(record.key).is_none_or(|known| known.revision <= revision) {
                self.newest.insert(Bytes::copy_from_slice(record.key), Newest { revision, place, is_deleted });
            }
        }
    }
}

fn first_revision(record: &RecordRef<'_>) -> Option<Revision> {
    match record.head.kind {
        Kind::Gap => Some(record.head.create_revision),
        kind => kind.is_event().then_some(record.head.revision),
    }
}

fn last_revision(record: &RecordRef<'_>) -> Option<Revision> {
    (record.head.kind.is_event() || record.head.kind == Kind::Gap).then_some(record.head.revision)
}
