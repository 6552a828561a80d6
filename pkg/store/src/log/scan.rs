//! Reading one segment from front to back.

use std::io;
use std::sync::Arc;

use crate::error::Error;
use crate::log::Segment;
use crate::log::disk::read_up_to;
use crate::log::format::{ALIGNMENT, BATCH_HEADER, BatchHeader, Position, RecordRef, decode_record};

/// How much is read at once.
const WINDOW: u32 = 256 * 1024;

/// What stands at the current position of a [`Scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A batch with a sound header; its records have not been looked at.
    Batch(BatchHeader),
    /// Nothing has been written here.
    End,
    /// Something that is no batch.
    Broken(&'static str),
}

/// Where something is wrong, and what.
pub(crate) type Broken = (u32, &'static str);

/// A reader of one segment. It sees what was in the file when it last filled its window.
#[derive(Debug)]
pub(crate) struct Scan {
    segment: Arc<Segment>,
    log: u64,
    offset: u32,
    window: Vec<u8>,
    window_start: u32,
    /// How much is read at once.
    window_size: u32,
}

impl Scan {
    pub(super) fn new(segment: Arc<Segment>, log: u64, offset: u32) -> Self {
        Self { segment, log, offset, window: Vec::new(), window_start: 0, window_size: WINDOW }
    }

    /// Where it is.
    pub(crate) fn position(&self) -> Position {
        Position::new(self.segment.header.number, self.offset)
    }

    /// Looks at what comes next without moving.
    pub(crate) fn peek(&mut self) -> io::Result<Next> {
        let (position, log) = (self.position(), self.log);
        let bytes = self.bytes(self.offset, BATCH_HEADER)?;
        if is_blank(bytes) {
            return Ok(Next::End);
        }
        Ok(match BatchHeader::decode(bytes, log) {
            None => Next::Broken("no batch"),
            Some(header) if header.position != position => Next::Broken("a batch from elsewhere"),
            Some(header) => Next::Batch(header),
        })
    }

    /// The records of the batch that [`Scan::peek`] found, each of them checked; the text says what is wrong, and where.
    pub(crate) fn records(&mut self, header: &BatchHeader) -> io::Result<Result<Vec<RecordRef<'_>>, Broken>> {
        let (records, broken) = self.sound_records(header)?;
        Ok(broken.map_or(Ok(records), Err))
    }

    /// The same up to what is wrong, if anything is.
    pub(crate) fn sound_records(&mut self, header: &BatchHeader) -> io::Result<(Vec<RecordRef<'_>>, Option<Broken>)> {
        let start = self.offset.saturating_add(BATCH_HEADER);
        let mut rest = self.bytes(start, header.length)?;
        let mut position = Position::new(header.position.segment, start);
        let mut records = Vec::with_capacity(header.count.min(1024) as usize);
        for _ in 0..header.count {
            match decode_record(rest, position) {
                Ok(record) => {
                    position = position.plus(record.place.length);
                    rest = rest.get(record.place.length as usize..).unwrap_or_default();
                    records.push(record);
                }
                Err(what) => return Ok((records, Some((position.offset, what)))),
            }
        }
        let broken = (!rest.is_empty()).then_some((position.offset, "more bytes than records"));
        Ok((records, broken))
    }

    /// Moves behind a batch.
    pub(crate) fn skip(&mut self, header: &BatchHeader) {
        self.offset = header.end().offset;
    }

    /// Whether only zeros follow.
    pub(crate) fn rest_is_blank(&mut self) -> io::Result<bool> {
        let mut offset = self.offset;
        loop {
            let bytes = self.bytes(offset, self.window_size)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if !is_blank(bytes) {
                return Ok(false);
            }
            offset = offset.saturating_add(bytes.len() as u32);
        }
    }

    /// Searches the rest of the segment for a batch that was written when everything up to `known` was already durable.
    pub(crate) fn knows_durable(&mut self, known: Position) -> io::Result<bool> {
        self.find(|header| header.durable > known)
    }

    /// Moves on to the next sound batch from here on that is wanted; false when there is none.
    pub(crate) fn find(&mut self, wanted: impl Fn(&BatchHeader) -> bool) -> io::Result<bool> {
        self.offset = self.offset.next_multiple_of(ALIGNMENT);
        loop {
            let (position, log) = (self.position(), self.log);
            let bytes = self.bytes(self.offset, BATCH_HEADER)?;
            if bytes.is_empty() {
                return Ok(false);
            }
            if BatchHeader::decode(bytes, log).is_some_and(|found| found.position == position && wanted(&found)) {
                return Ok(true);
            }
            self.offset = self.offset.saturating_add(ALIGNMENT);
        }
    }

    /// Reads no more at once than what is needed and `size`, on a disk that cannot read everything.
    pub(crate) fn read_blocks(&mut self, size: u32) {
        self.window_size = size;
        self.window.clear();
    }

    /// Moves to `offset`, where a batch need not begin.
    pub(crate) fn seek(&mut self, offset: u32) {
        self.offset = offset;
    }

    /// An error about this segment.
    pub(crate) fn damaged(&self, offset: u32, what: impl ToString) -> Error {
        self.segment.damaged(offset, what)
    }

    /// Up to `length` bytes from `offset` on; fewer at the end of the file.
    fn bytes(&mut self, offset: u32, length: u32) -> io::Result<&[u8]> {
        let length = length as usize;
        let held = offset.checked_sub(self.window_start).map(|skip| skip as usize);
        let enough = held.is_some_and(|skip| skip + length <= self.window.len());
        if !enough {
            self.window.resize(length.max(self.window_size as usize), 0);
            let read = read_up_to(self.segment.file.as_ref(), &mut self.window, offset.into())?;
            self.window.truncate(read);
            self.window_start = offset;
        }
        let skip = offset.saturating_sub(self.window_start) as usize;
        let rest = self.window.get(skip..).unwrap_or_default();
        Ok(rest.get(..length).unwrap_or(rest))
    }
}

/// Whether these are only zeros.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}
