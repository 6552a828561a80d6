//! Opening a log: finding its end, and telling a torn tail from damage.
//!
//! Every batch header names the position up to which the log was known durable when the batch was written. So damage at
//! position `p` is the work of an interrupted write if no sound header anywhere behind it claims more than `p`: the tail
//! is cut there, and everything after it goes too. If one does, something that was safe on disk has been lost, and that is
//! never skipped: the log does not open.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::log::disk::{Disk, read_up_to, write_all};
use crate::log::format::{BatchHeader, FORMAT, HeaderError, Position, RecordRef, SEGMENT_HEADER, SegmentHeader};
use crate::log::ready::filled;
use crate::log::scan::{Next, Scan};
use crate::log::{Log, Segment};
use crate::model::Revision;

/// The first segment while it is made.
const FIRST_NEW: &str = "first.new";

/// The segments as found, before anything was read or changed.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) log: Arc<Log>,
    /// Files whose header is no header, after the last sound segment: what an interrupted start of a segment leaves.
    headless: Vec<Arc<Segment>>,
}

/// Where the log ends.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) position: Position,
    /// Why everything after that is to be cut; `None` when nothing is there.
    pub(crate) torn: Option<&'static str>,
}

/// Looks at the files. A directory without segments gets its first one.
pub(crate) fn find(disk: Arc<dyn Disk>, segment_size: u32) -> Result<Found, Error> {
    let explain = |error: std::io::Error| Error::Open(format!("cannot read the log: {error}"));
    let numbers = numbers(disk.as_ref()).map_err(explain)?;
    let (mut segments, mut headless) = (BTreeMap::new(), Vec::<Arc<Segment>>::new());
    for number in numbers {
        let segment = load(disk.as_ref(), number).map_err(explain)?;
        match segment {
            (segment, Ok(())) => {
                if let Some(lost) = headless.pop() {
                    return Err(lost.damaged(0, "the header is no header, but later segments exist"));
                }
                segments.insert(number, Arc::new(segment));
            }
            (segment, Err(HeaderError::Unreadable)) => headless.push(Arc::new(segment)),
            (_, Err(HeaderError::Format(format))) => return Err(other_format(number, format)),
        }
    }
    check_sequence(&segments)?;
    if segments.is_empty() {
        refuse_headless(&headless)?;
        remove(disk.as_ref(), &mut headless).map_err(explain)?;
        segments.insert(1, Arc::new(first_segment(disk.as_ref(), segment_size, 1).map_err(explain)?));
    }
    let id = segments.values().next().map_or(0, |first| first.header.log);
    Ok(Found { log: Log::new(disk, id, segments), headless })
}

/// The numbers of all segments, ascending.
pub(crate) fn numbers(disk: &dyn Disk) -> std::io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = disk.list()?.iter().filter_map(|name| Segment::number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn other_format(number: u32, format: u32) -> Error {
    let name = Segment::name(number);
    Error::Open(format!("{name} has format {format}; this knarr reads format {FORMAT}"))
}

pub(crate) fn load(disk: &dyn Disk, number: u32) -> std::io::Result<(Segment, Result<(), HeaderError>)> {
    let file = disk.open(&Segment::name(number))?;
    let mut bytes = [0; SEGMENT_HEADER as usize];
    read_up_to(file.as_ref(), &mut bytes, 0)?;
    let none = SegmentHeader { log: 0, number, previous_end: Position::default(), revision: 0, floor: 0, reserved: 0 };
    Ok(match SegmentHeader::decode(&bytes) {
        Ok(header) if header.number == number => (Segment { header, file }, Ok(())),
        Ok(_) => (Segment { header: none, file }, Err(HeaderError::Unreadable)),
        Err(error) => (Segment { header: none, file }, Err(error)),
    })
}

/// A later segment proves that the one before it was complete and durable, so none may be missing.
fn check_sequence(segments: &BTreeMap<u32, Arc<Segment>>) -> Result<(), Error> {
    for (before, after) in segments.values().zip(segments.values().skip(1)) {
        if after.header.number != before.header.number + 1 || after.header.log != before.header.log {
            let file = Segment::name(before.header.number + 1);
            return Err(Error::Damaged {
                file,
                offset: 0,
                what: "the segment is missing or of another log".to_owned(),
            });
        }
    }
    Ok(())
}

/// Begins a log whose history begins at that revision.
pub(crate) fn first_segment(disk: &dyn Disk, segment_size: u32, revision: Revision) -> std::io::Result<Segment> {
    use std::hash::{BuildHasher, Hasher};
    let log = std::hash::RandomState::new().build_hasher().finish() | 1;
    let (floor, reserved) = (revision, revision);
    let header = SegmentHeader { log, number: 1, previous_end: Position::default(), revision, floor, reserved };
    // It gets its name only with its header: a log whose only segment has none has lost it.
    let file = filled(disk, FIRST_NEW, segment_size)?;
    write_all(file.as_ref(), &header.encode(), 0)?;
    file.sync()?;
    disk.rename(FIRST_NEW, &Segment::name(1))?;
    disk.sync_names()?;
    Ok(Segment { header, file })
}

fn remove(disk: &dyn Disk, segments: &mut Vec<Arc<Segment>>) -> std::io::Result<()> {
    // Newest first: whatever happens in between, what is left has no hole.
    while let Some(segment) = segments.pop() {
        disk.remove(&Segment::name(segment.header.number))?;
        disk.sync_names()?;
    }
    Ok(())
}

impl Found {
    /// Reads everything from `from` to the end, hands each batch to `visit`, and finds out where the end is.
    pub(crate) fn read(
        &self,
        from: Position,
        mut visit: impl FnMut(&BatchHeader, &[RecordRef<'_>]) -> Result<(), Error>,
    ) -> Result<End, Error> {
        let mut position = from;
        loop {
            let Some(mut scan) = self.log.scan(position) else {
                return Err(Error::Open(format!("segment {} is missing", Segment::name(position.segment))));
            };
            let broken = read_segment(&mut scan, &mut visit)?;
            position = scan.position();
            let following = self.log.segment(position.segment + 1).map(|segment| segment.header);
            match (broken, following) {
                (None, Some(next)) if next.previous_end == position => {
                    position = Position::new(next.number, SEGMENT_HEADER);
                }
                (None, None) => {
                    judge_headless(&self.headless, self.log.id)?;
                    let goes_on = scan.find(|_| true).map_err(|error| scan.damaged(position.offset, error))?;
                    scan.seek(position.offset);
                    let torn = (goes_on || holds_batches(&self.headless, self.log.id)?).then_some("data after the end");
                    if torn.is_some() {
                        self.judge(scan, position, position.offset, "the end, but later data exists")?;
                    }
                    return Ok(End { position, torn });
                }
                (broken, _) => {
                    let (offset, what) = broken.unwrap_or((position.offset, "the end, but later segments exist"));
                    // A later segment, even one without a header, is made only when everything before it is durable.
                    if self.log.segment(position.segment + 1).is_some() || !self.headless.is_empty() {
                        return Err(scan.damaged(offset, what));
                    }
                    self.judge(scan, position, offset, what)?;
                    return Ok(End { position, torn: Some(what) });
                }
            }
        }
    }

    /// Fails if anything behind `position` proves that it was durable.
    fn judge(&self, mut scan: Scan, position: Position, offset: u32, what: &'static str) -> Result<(), Error> {
        let known = scan.knows_durable(position).map_err(|error| scan.damaged(offset, error))?;
        if known { Err(scan.damaged(offset, what)) } else { Ok(()) }
    }

    /// Whether batches lead from the start of its segment to `position`.
    pub(crate) fn reaches(&self, position: Position) -> Result<bool, Error> {
        let Some(mut scan) = self.log.scan(Position::new(position.segment, SEGMENT_HEADER)) else { return Ok(false) };
        while scan.position() < position {
            match scan.peek().map_err(|error| scan.damaged(scan.position().offset, error))? {
                Next::Batch(header) => scan.skip(&header),
                Next::End | Next::Broken(_) => break,
            }
        }
        Ok(scan.position() == position)
    }

    /// Removes what is after the end, durably, and makes the rest durable, which it may not be after a crash.
    pub(crate) fn settle(mut self, end: &End) -> std::io::Result<(Arc<Log>, Arc<Segment>)> {
        remove(self.log.disk.as_ref(), &mut self.headless)?;
        let segment = self.log.segment(end.position.segment).ok_or(std::io::ErrorKind::NotFound)?;
        if end.torn.is_some() {
            segment.file.clear_from(end.position.offset.into())?;
        }
        segment.file.sync()?;
        self.log.disk.sync_names()?;
        Ok((self.log, segment))
    }
}

/// Reads to the end of a segment or to what is broken.
fn read_segment(
    scan: &mut Scan,
    visit: &mut impl FnMut(&BatchHeader, &[RecordRef<'_>]) -> Result<(), Error>,
) -> Result<Option<(u32, &'static str)>, Error> {
    loop {
        let offset = scan.position().offset;
        let peeked = scan.peek();
        match peeked.map_err(|error| scan.damaged(offset, error))? {
            Next::End => return Ok(None),
            Next::Broken(what) => return Ok(Some((offset, what))),
            Next::Batch(header) => {
                let failed = match scan.records(&header) {
                    Ok(Ok(records)) => {
                        visit(&header, &records)?;
                        None
                    }
                    Ok(Err(broken)) => return Ok(Some(broken)),
                    Err(error) => Some(error),
                };
                if let Some(error) = failed {
                    return Err(scan.damaged(offset, error));
                }
                scan.skip(&header);
            }
        }
    }
}

/// A segment whose header is gone was in use if a batch in it says that the header was durable.
fn judge_headless(headless: &[Arc<Segment>], log: u64) -> Result<(), Error> {
    for segment in headless {
        let start = Position::new(segment.header.number, 0);
        let mut scan = Scan::new(Arc::clone(segment), log, 0);
        if scan.knows_durable(start).map_err(|error| segment.damaged(0, error))? {
            return Err(segment.damaged(0, "the header is damaged"));
        }
    }
    Ok(())
}

/// Without any sound header, everything is lost that a segment held.
fn refuse_headless(headless: &[Arc<Segment>]) -> Result<(), Error> {
    for segment in headless {
        let mut scan = Scan::new(Arc::clone(segment), 0, 0);
        if !scan.rest_is_blank().map_err(|error| segment.damaged(0, error))? {
            return Err(segment.damaged(0, "the header is damaged"));
        }
    }
    Ok(())
}

/// Whether segments without a header hold batches that were written to them.
fn holds_batches(headless: &[Arc<Segment>], log: u64) -> Result<bool, Error> {
    for segment in headless {
        let mut scan = Scan::new(Arc::clone(segment), log, 0);
        if scan.find(|_| true).map_err(|error| segment.damaged(0, error))? {
            return Ok(true);
        }
    }
    Ok(false)
}
