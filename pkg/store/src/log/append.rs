//! Writing to the end of the log. One owner: the writer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::disk::{is_no_space, write_all};
use crate::log::format::{
    BATCH_HEADER, BatchHeader, Kind, Place, Position, Previous, RecordHead, SEGMENT_HEADER, SegmentHeader,
    encode_record, record_length,
};
use crate::log::{Log, Segment};
use crate::model::Revision;

/// The file that is kept so that deletes and compaction find space on a full disk.
pub(crate) const SPARE: &str = "spare";

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
    spare: bool,
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
        let spare = log.disk.list()?.iter().any(|name| name == SPARE);
        let buffer = Vec::new();
        let mut appender = Self { log, segment, end, room, durable: end, segment_size, spare, buffer, stamp };
        match appender.make_spare() {
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

    /// Makes the spare segment if it is missing.
    pub(crate) fn make_spare(&mut self) -> io::Result<()> {
        if !self.spare {
            if let Err(error) = self.log.disk.create(SPARE, self.segment_size.into()).and_then(|file| file.sync()) {
                // What is left of it would only take space; whether it could be removed shows at the next attempt.
                let _incomplete = self.log.disk.remove(SPARE);
                return Err(error);
            }
            self.log.disk.sync_names()?;
            self.spare = true;
        }
        Ok(())
    }

    /// The oldest segment to which a record of the next batch may refer when it may reach `reach` segments back.
    pub(crate) fn horizon(&self, reach: u32) -> u32 {
        // The batch may have to go into a new segment.
        (self.end.segment + 1).saturating_sub(reach)
    }

    /// Appends one batch and answers where its records are. Not durable before [`Appender::sync`].
    pub(crate) fn append(
        &mut self,
        drafts: &[Draft],
        stamp: Stamp,
        spend_spare: bool,
    ) -> Result<Vec<Place>, AppendError> {
        let length =
            drafts.iter().try_fold(0u32, |sum, draft| sum.checked_add(record_length(&draft.key, &draft.value)?));
        let size = length.and_then(|length| length.checked_add(BATCH_HEADER)?.checked_next_multiple_of(8));
        let (Some(length), Some(size)) = (length, size) else {
            return Err(AppendError::Failed(io::ErrorKind::FileTooLarge.into()));
        };
        if self.end.offset.checked_add(size).is_none_or(|end| end > self.room) {
            self.roll(size, spend_spare)?;
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
        self.buffer.shrink_to(1 << 20);
        written?;
        self.end = header.end();
        self.stamp = stamp;
        Ok(places)
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
        self.buffer.extend_from_slice(&header.encode());
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
    fn roll(&mut self, size: u32, spend_spare: bool) -> Result<(), AppendError> {
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
        self.segment = Arc::new(self.create(header, room, spend_spare)?);
        self.room = room;
        self.end = Position::new(header.number, SEGMENT_HEADER);
        // Nothing but the header, which is durable with the first batch; without one the segment is blank and not missed.
        self.durable = self.end;
        self.log.add(Arc::clone(&self.segment));
        Ok(())
    }

    fn create(&mut self, header: SegmentHeader, room: u32, spend_spare: bool) -> Result<Segment, AppendError> {
        let (disk, name) = (&self.log.disk, Segment::name(header.number));
        let file = match disk.create(&name, room.into()) {
            Err(error) if is_no_space(&error) => {
                // A part of the file may exist; if it cannot be removed, the next attempt truncates it.
                let _incomplete = disk.remove(&name);
                if !(spend_spare && self.spare && room <= self.segment_size) {
                    return Err(error.into());
                }
                disk.rename(SPARE, &name)?;
                self.spare = false;
                disk.open(&name)?
            }
            created => created?,
        };
        write_all(file.as_ref(), &header.encode(), 0)?;
        disk.sync_names().map_err(AppendError::Failed)?;
        Ok(Segment { header, file })
    }
}
