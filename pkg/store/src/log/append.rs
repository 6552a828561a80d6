//! Writing to the end of the log. One owner: the writer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::disk::{DiskFile, is_no_space, write_all};
use crate::log::format::{
    BATCH_HEADER, BatchHeader, Kind, Place, Position, Previous, RecordHead, SEGMENT_HEADER, SegmentHeader,
    encode_record, record_length,
};
use crate::log::{Log, Segment};
use crate::model::Revision;

/// Segments kept ready: so that on a full disk deletes find space, and compaction even after them.
const SPARES: [&str; 3] = ["spare-1", "spare-2", "spare-3"];

/// How many spare segments a batch must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// For what takes space.
    Two,
    /// For what frees space in the long run.
    One,
    /// For what frees space at once.
    None,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// No space. The log is as before.
    NoSpace(String),
    /// What is on disk is unknown.
    Failed(io::Error),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        if is_no_space(&error) { Self::NoSpace(error.to_string()) } else { Self::Failed(error) }
    }
}

/// A record to be written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) revision: Revision,
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
    pub(crate) previous: Option<Link>,
}

/// What a draft overwrites.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    /// Something in the log.
    Written(Previous),
    /// The draft of this index in the same batch, written at this revision.
    Draft(usize, Revision),
}

/// What a batch says beside its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) revision: Revision,
    pub(crate) floor: Revision,
    pub(crate) reserved: Revision,
}

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Appender {
    log: Arc<Log>,
    segment: Arc<Segment>,
    end: Position,
    /// Bytes of the current file.
    room: u32,
    durable: Position,
    segment_size: u32,
    /// How many of [`SPARES`] exist.
    spares: usize,
    buffer: Vec<u8>,
    /// The newest revision in the log, for the next segment's header.
    stamp: Stamp,
}

impl Appender {
    /// Continues at `end`, which must be the durable end of the log.
    pub(crate) fn new(
        log: Arc<Log>,
        segment: Arc<Segment>,
        end: Position,
        segment_size: u32,
        stamp: Stamp,
    ) -> io::Result<Self> {
        let room = u32::try_from(segment.file.size()?).unwrap_or(u32::MAX);
        let names = log.disk.list()?;
        let spares = SPARES.iter().take_while(|spare| names.iter().any(|name| name == *spare)).count();
        let buffer = Vec::new();
        let mut appender = Self { log, segment, end, room, durable: end, segment_size, spares, buffer, stamp };
        match appender.make_spares() {
            Err(error) if !is_no_space(&error) => Err(error),
            _ => Ok(appender),
        }
    }

    /// The end of what was appended.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Whether everything appended is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable == self.end
    }

    /// Makes the spare segments that are missing.
    pub(crate) fn make_spares(&mut self) -> io::Result<()> {
        while let Some(name) = SPARES.get(self.spares) {
            if let Err(error) = self.log.disk.create(name, self.segment_size.into()).and_then(|file| file.sync()) {
                // What is left of it would only take space; whether it could be removed shows at the next attempt.
                let _incomplete = self.log.disk.remove(name);
                return Err(error);
            }
            self.log.disk.sync_names()?;
            self.spares += 1;
        }
        Ok(())
    }

    /// The oldest segment to which a record of the next batch may refer when it may reach `reach` segments back.
    pub(crate) fn horizon(&self, reach: u32) -> u32 {
        // The batch may have to go into a new segment.
        (self.end.segment + 1).saturating_sub(reach)
    }

    /// Appends one batch and answers where its records are. Not durable before [`Appender::sync`].
    pub(crate) fn append(&mut self, drafts: &[Draft], stamp: Stamp, leave: Leave) -> Result<Vec<Place>, AppendError> {
        let length =
            drafts.iter().try_fold(0u32, |sum, draft| sum.checked_add(record_length(&draft.key, &draft.value)?));
        let size = length.and_then(|length| length.checked_add(BATCH_HEADER)?.checked_next_multiple_of(8));
        let (Some(length), Some(size)) = (length, size) else {
            return Err(AppendError::Failed(io::ErrorKind::FileTooLarge.into()));
        };
        if self.end.offset.checked_add(size).is_none_or(|end| end > self.room) {
            self.roll(size, leave)?;
        }
        let header = BatchHeader {
            position: self.end,
            durable: self.durable,
            length,
            count: drafts.len() as u32,
            revision: stamp.revision,
            floor: stamp.floor,
            reserved: stamp.reserved,
        };
        let places = self.encode(&header, drafts);
        let written = write_all(self.segment.file.as_ref(), &self.buffer, self.end.offset.into());
        self.buffer.clear();
        self.buffer.shrink_to(256 << 10);
        if let Err(error) = written {
            self.erase(&error)?;
            return Err(error.into());
        }
        self.end = header.end();
        self.stamp = stamp;
        Ok(places)
    }

    /// Makes sure that what a failed write left is never taken for a batch, whatever is written there next or not at all.
    fn erase(&self, error: &io::Error) -> Result<(), AppendError> {
        if is_no_space(error) {
            let (file, zeros) = (self.segment.file.as_ref(), [0; BATCH_HEADER as usize]);
            let erased = write_all(file, &zeros, self.end.offset.into()).and_then(|()| file.sync());
            erased.map_err(AppendError::Failed)?;
        }
        Ok(())
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.is_durable() {
            self.segment.file.sync()?;
            self.durable = self.end;
        }
        Ok(())
    }

    fn encode(&mut self, header: &BatchHeader, drafts: &[Draft]) -> Vec<Place> {
        self.buffer.extend_from_slice(&header.encode(self.log.id));
        let mut places: Vec<Place> = Vec::with_capacity(drafts.len());
        let mut position = self.end.plus(BATCH_HEADER);
        for draft in drafts {
            let previous = match draft.previous {
                None => None,
                Some(Link::Written(previous)) => Some(previous),
                Some(Link::Draft(index, revision)) => {
                    places.get(index).map(|place| Previous { revision, place: *place })
                }
            };
            let head = RecordHead {
                kind: draft.kind,
                revision: draft.revision,
                create_revision: draft.create_revision,
                version: draft.version,
                previous,
            };
            encode_record(&mut self.buffer, position, &head, &draft.key, &draft.value);
            let length = record_length(&draft.key, &draft.value).unwrap_or_default();
            places.push(Place { position, length });
            position = position.plus(length);
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
        places
    }

    /// Goes on in a new segment that has room for a batch of `size` bytes.
    fn roll(&mut self, size: u32, leave: Leave) -> Result<(), AppendError> {
        self.sync().map_err(AppendError::Failed)?;
        let header = SegmentHeader {
            log: self.log.id,
            number: self.end.segment + 1,
            previous_end: self.end,
            revision: self.stamp.revision,
            floor: self.stamp.floor,
            reserved: self.stamp.reserved,
        };
        let room = self.segment_size.max(size.saturating_add(SEGMENT_HEADER));
        self.segment = Arc::new(self.create(header, room, leave)?);
        self.room = room;
        self.end = Position::new(header.number, SEGMENT_HEADER);
        self.log.add(Arc::clone(&self.segment));
        Ok(())
    }

    fn create(&mut self, header: SegmentHeader, room: u32, leave: Leave) -> Result<Segment, AppendError> {
        let name = Segment::name(header.number);
        let file = if room > self.segment_size {
            self.log.disk.create(&name, room.into())?
        } else {
            match self.make_spares() {
                Err(error) if !is_no_space(&error) => return Err(error.into()),
                _ => self.take_spare(&name, leave)?,
            }
        };
        let disk = &self.log.disk;
        write_all(file.as_ref(), &header.encode(), 0)?;
        disk.sync_names().map_err(AppendError::Failed)?;
        Ok(Segment { header, file })
    }
    fn take_spare(&mut self, name: &str, leave: Leave) -> Result<Box<dyn DiskFile>, AppendError> {
        let left = match leave {
            Leave::Two => 2,
            Leave::One => 1,
            Leave::None => 0,
        };
        let spare = self.spares.checked_sub(1).filter(|after| *after >= left).and_then(|after| SPARES.get(after));
        let Some(spare) = spare else { return Err(AppendError::NoSpace("no space for another segment".to_owned())) };
        self.log.disk.rename(spare, name)?;
        self.spares -= 1;
        Ok(self.log.disk.open(name)?)
    }
}
