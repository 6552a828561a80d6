//! Writing to the end of the log. One owner: the writer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::direct::Aligned;
use crate::log::disk::{DiskFile, is_no_space, read_up_to, write_all};
use crate::log::format::{
    BATCH_HEADER, BatchHeader, Kind, Place, Position, Previous, RecordHead, SEGMENT_HEADER, SegmentHeader,
    encode_record, record_length,
};
use crate::log::{Log, Segment};
use crate::model::Revision;

/// Segments kept ready: so that on a full disk deletes find space, and compaction even after them.
const SPARES: [&str; 3] = ["spare-1", "spare-2", "spare-3"];

/// The file of a segment for one batch that no usual segment holds, while it is made.
const OVERSIZE: &str = "large.new";

/// Batches from this size on fill pages so well that the page cache costs nothing, and saves reading them back.
const LARGE: usize = 32 << 10;

/// Bytes at the end of a segment that are left to compactions when there are no two spares: what deletes make free is only
/// found once there was a compaction, and what that leaves is moved to the last spare.
const FOR_COMPACTIONS: u32 = 4096;

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

/// The file of a segment once more, to write past the page cache; and its block size.
type Direct = (Box<dyn DiskFile>, u32);

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
    direct: Direct,
    /// The last block as far as it is written: it is written again with what comes next.
    begun: Vec<u8>,
    /// Bytes of the segment that were written past the page cache.
    past_cache: usize,
    buffer: Aligned,
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
        log.ready.find(log.disk.as_ref(), &names)?;
        if names.iter().any(|name| name == OVERSIZE) {
            log.disk.remove(OVERSIZE)?;
        }
        let direct = log.disk.open_direct(&Segment::name(segment.header.number))?;
        let mut begun = vec![0; (end.offset % direct.1) as usize];
        read_up_to(segment.file.as_ref(), &mut begun, (end.offset / direct.1 * direct.1).into())?;
        let (buffer, durable) = (Aligned::default(), end);
        let mut appender = Self {
            log,
            segment,
            end,
            room,
            durable,
            segment_size,
            spares,
            direct,
            begun,
            past_cache: 0,
            buffer,
            stamp,
        };
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
            let disk = self.log.disk.as_ref();
            if let Err(error) = disk.create(name, self.segment_size.into()).and_then(|file| file.sync()) {
                // What is left of it would only take space; whether it could be removed shows at the next attempt.
                let _incomplete = disk.remove(name);
                let ready = if is_no_space(&error) { self.log.ready.give() } else { None };
                disk.rename(&ready.ok_or(error)?, name)?;
            }
            disk.sync_names()?;
            self.spares += 1;
        }
        Ok(())
    }

    /// The oldest segment to which a record of the next batch may refer when it may reach `reach` segments back.
    pub(crate) fn horizon(&self, reach: u32) -> u32 {
        // The batch may have to go into a new segment.
        (self.end.segment + 1).saturating_sub(reach)
    }

    /// Appends one batch and answers where its records are. Not durable before [`Appender::sync`]; when that follows at
    /// once, and nothing else waits for it, the batch is written past the page cache.
    pub(crate) fn append(
        &mut self,
        drafts: &[Draft],
        stamp: Stamp,
        leave: Leave,
        sync_follows: bool,
    ) -> Result<Vec<Place>, AppendError> {
        let length =
            drafts.iter().try_fold(0u32, |sum, draft| sum.checked_add(record_length(&draft.key, &draft.value)?));
        let size = length.and_then(|length| length.checked_add(BATCH_HEADER)?.checked_next_multiple_of(8));
        let (Some(length), Some(size)) = (length, size) else {
            return Err(AppendError::Failed(io::ErrorKind::FileTooLarge.into()));
        };
        let kept = self.kept_back(leave)?;
        if self.end.offset.checked_add(size + kept).is_none_or(|end| end > self.room) {
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
        let is_direct = sync_follows && self.is_durable() && self.buffer.bytes().len() < LARGE;
        let file = if is_direct { &self.direct.0 } else { &self.segment.file };
        let start = self.end.offset - self.begun.len() as u32;
        if let Err(error) = write_all(file.as_ref(), self.buffer.bytes(), start.into()) {
            self.erase(&error)?;
            return Err(error.into());
        }
        if is_direct {
            self.past_cache += self.buffer.bytes().len();
        }
        let written = self.buffer.bytes().get(..(header.end().offset - start) as usize).unwrap_or_default();
        self.log.remember(&self.segment, self.end, written.get(self.begun.len()..).unwrap_or_default());
        self.begun.clear();
        self.begun.extend_from_slice(written.chunks_exact(self.direct.1 as usize).remainder());
        self.buffer.shrink_to(256 << 10);
        self.end = header.end();
        self.stamp = stamp;
        Ok(places)
    }

    /// Bytes of the segment that a batch must leave.
    fn kept_back(&mut self, leave: Leave) -> Result<u32, AppendError> {
        if leave == Leave::None || self.spares >= 2 {
            return Ok(0);
        }
        match self.make_spares() {
            Err(error) if !is_no_space(&error) => Err(error.into()),
            // The segment is the last spare: it is for what is moved.
            Err(error) if self.spares == 0 => Err(error.into()),
            _ => Ok(if self.spares >= 2 { 0 } else { FOR_COMPACTIONS }),
        }
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

    /// Fills the buffer with whole blocks: what is written of the first one, the batch, and so many zeros that whatever
    /// the file held before is never taken for the next batch.
    fn encode(&mut self, header: &BatchHeader, drafts: &[Draft]) -> Vec<Place> {
        let start = self.end.offset - self.begun.len() as u32;
        let end = header.end().offset.saturating_add(BATCH_HEADER).next_multiple_of(self.direct.1).min(self.room);
        let buffer = self.buffer.begin((end - start) as usize);
        let whole = buffer.len() + (end - start) as usize;
        buffer.extend_from_slice(&self.begun);
        buffer.extend_from_slice(&header.encode(self.log.id));
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
            encode_record(buffer, position, &head, &draft.key, &draft.value);
            let length = record_length(&draft.key, &draft.value).unwrap_or_default();
            places.push(Place { position, length });
            position = position.plus(length);
        }
        buffer.resize(whole, 0);
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
        // Whole blocks of any device.
        let room = size.saturating_add(SEGMENT_HEADER).checked_next_multiple_of(4096).unwrap_or(u32::MAX);
        let room = room.max(self.segment_size);
        let source = self.file_for(room, leave)?;
        let begun = self.begin(&source, &header);
        if begun.is_err() {
            self.give_up(&source);
        }
        let (file, direct, block) = begun?;
        if SPARES.contains(&source.as_str()) {
            self.spares -= 1;
        }
        self.log.disk.sync_names().map_err(AppendError::Failed)?;
        (self.begun, self.past_cache, self.direct, self.room) = (block, 0, direct, room);
        self.segment = Arc::new(Segment { header, file });
        self.end = Position::new(header.number, SEGMENT_HEADER);
        self.log.add(Arc::clone(&self.segment));
        Ok(())
    }

    /// Writes a segment's header to a file, and only then gives it the segment's name: a segment that could not be begun
    /// must leave none behind, because the log may go on in the one before it.
    fn begin(&self, source: &str, header: &SegmentHeader) -> io::Result<(Box<dyn DiskFile>, Direct, Vec<u8>)> {
        let disk = self.log.disk.as_ref();
        let (file, direct) = (disk.open(source)?, disk.open_direct(source)?);
        let mut block = header.encode().to_vec();
        block.resize(direct.1 as usize, 0);
        write_all(file.as_ref(), &block, 0)?;
        // Else a power cut could leave the name with the header of an earlier attempt, which another end goes before.
        file.sync()?;
        disk.rename(source, &Segment::name(header.number))?;
        block.truncate(SEGMENT_HEADER as usize);
        Ok((file, direct, block))
    }

    /// The name of a file that can become a segment.
    fn file_for(&mut self, room: u32, leave: Leave) -> Result<String, AppendError> {
        if room > self.segment_size {
            if let Err(error) = self.log.disk.create(OVERSIZE, room.into()) {
                self.give_up(OVERSIZE);
                return Err(error.into());
            }
            return Ok(OVERSIZE.to_owned());
        }
        if let Some(ready) = self.log.ready.take(self.past_cache > self.segment_size as usize / 2) {
            return Ok(ready);
        }
        match self.make_spares() {
            Err(error) if !is_no_space(&error) => Err(error.into()),
            _ => self.spare(leave).map(str::to_owned),
        }
    }

    fn spare(&self, leave: Leave) -> Result<&'static str, AppendError> {
        let left = match leave {
            Leave::Two => 2,
            Leave::One => 1,
            Leave::None => 0,
        };
        let spare = self.spares.checked_sub(1).filter(|after| *after >= left).and_then(|after| SPARES.get(after));
        spare.copied().ok_or_else(|| AppendError::NoSpace("no space for another segment".to_owned()))
    }

    /// Lets a file go that did not become a segment.
    fn give_up(&self, source: &str) {
        if source == OVERSIZE {
            // What is left of it only takes space; the next one replaces it, and the next start removes it.
            let _left = self.log.disk.remove(OVERSIZE);
        } else if !SPARES.contains(&source) {
            self.log.ready.put_back(source);
        }
    }
}
