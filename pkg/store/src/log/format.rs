//! The bytes of the log. All numbers are little-endian; everything is covered by a CRC-32.
//!
//! ```text
//! segment := segment header (64 bytes)  batch*  64 zeros, if there is room  anything
//! batch   := batch header (64 bytes)  record*  zeros up to the next multiple of 8
//! record  := head (56 bytes)  key  value
//! ```
//!
//! A batch is what one `write(2)` appended: one or more whole transactions. Its header says where it stands, so that bytes
//! left over from elsewhere are never taken for a batch: the file may have been another segment before. It also says up to
//! where the log was known durable when it was written. The CRC of a record is seeded with the record's own position, so
//! that a record can be checked alone and only in its place.

use bytes::Bytes;

use crate::model::Revision;

/// The version of everything in this file.
pub(crate) const FORMAT: u32 = 1;
/// Size of a segment's header.
pub(crate) const SEGMENT_HEADER: u32 = 64;
/// Size of a batch's header.
pub(crate) const BATCH_HEADER: u32 = 64;
/// Size of a record without key and value.
pub(crate) const RECORD_HEAD: u32 = 56;
/// Batches start at multiples of this.
pub(crate) const ALIGNMENT: u32 = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"knarrlog";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"KBAT");

/// A place in the log, in the order of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    /// The segment's number.
    pub(crate) segment: u32,
    /// Bytes from the start of its file.
    pub(crate) offset: u32,
}

impl Position {
    pub(crate) fn new(segment: u32, offset: u32) -> Self {
        Self { segment, offset }
    }

    pub(crate) fn plus(self, bytes: u32) -> Self {
        Self { offset: self.offset.saturating_add(bytes), ..self }
    }

    pub(crate) fn to_u64(self) -> u64 {
        (u64::from(self.segment) << 32) | u64::from(self.offset)
    }

    pub(crate) fn from_u64(raw: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = raw.to_be_bytes();
        Self { segment: u32::from_be_bytes([a, b, c, d]), offset: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// Where a record is, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) length: u32,
}

impl Place {
    /// Where the record ends.
    pub(crate) fn end(&self) -> Position {
        self.position.plus(self.length)
    }

    /// Whether another record follows so closely that reading what is between them costs less than reading twice.
    pub(crate) fn is_near(&self, next: &Self) -> bool {
        const NEAR: u32 = 4096;
        let (end, next) = (self.end(), next.position);
        end.segment == next.segment && next.offset.saturating_sub(end.offset) <= NEAR
    }
}

/// The start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Tells one log from another.
    pub(crate) log: u64,
    /// This segment's number; the first one is 1.
    pub(crate) number: u32,
    /// Where the log ended before this segment; all of that was durable before this header was written.
    pub(crate) previous_end: Position,
    /// The newest revision before this segment.
    pub(crate) revision: Revision,
    /// The compaction floor when it was made.
    pub(crate) floor: Revision,
    /// As [`BatchHeader::reserved`].
    pub(crate) reserved: Revision,
}

/// The start of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Where this header is.
    pub(crate) position: Position,
    /// Everything before this position was on disk when the batch was written.
    pub(crate) durable: Position,
    /// Bytes of the records, without padding.
    pub(crate) length: u32,
    /// How many records follow.
    pub(crate) count: u32,
    /// The newest revision after this batch.
    pub(crate) revision: Revision,
    /// Reads below this revision are refused from this batch on.
    pub(crate) floor: Revision,
    /// Revisions up to this one may have been seen by somebody although they are not in the log.
    pub(crate) reserved: Revision,
}

impl BatchHeader {
    /// Where the next batch would start.
    pub(crate) fn end(&self) -> Position {
        self.position.plus(BATCH_HEADER.saturating_add(self.length)).aligned()
    }
}

impl Position {
    fn aligned(self) -> Self {
        Self { offset: self.offset.next_multiple_of(ALIGNMENT), ..self }
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key got a value: an event.
    Put,
    /// A key went away: an event.
    Delete,
    /// A live [`Kind::Put`] written again so that its old segment can go. No event.
    Moved,
    /// What the next record of the same batch overwrites, because the original is too far back in the log. No event.
    Copied,
    /// As [`Kind::Copied`], of a [`Kind::Delete`].
    CopiedDelete,
    /// Revisions from `create_revision` to `revision` (inclusive) may have been seen and are lost. No event.
    Gap,
}

impl Kind {
    const TABLE: [(u8, Self); 6] = [
        (1, Self::Put),
        (2, Self::Delete),
        (3, Self::Moved),
        (4, Self::Copied),
        (5, Self::CopiedDelete),
        (6, Self::Gap),
    ];

    fn code(self) -> u8 {
        Self::TABLE.iter().find(|(_, kind)| *kind == self).map_or(0, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::TABLE.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
    }

    /// Whether the key does not exist after this record.
    pub(crate) fn is_delete(self) -> bool {
        matches!(self, Self::Delete | Self::CopiedDelete)
    }

    /// Whether watchers hear of it.
    pub(crate) fn is_event(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// What a record overwrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    /// When that was written.
    pub(crate) revision: Revision,
    /// Where it is.
    pub(crate) place: Place,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) kind: Kind,
    pub(crate) revision: Revision,
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
    pub(crate) previous: Option<Previous>,
}

/// A record somewhere in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordRef<'a> {
    pub(crate) head: RecordHead,
    pub(crate) place: Place,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A record that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) head: RecordHead,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

impl RecordRef<'_> {
    pub(crate) fn copied(self) -> Record {
        Record { head: self.head, key: Bytes::copy_from_slice(self.key), value: Bytes::copy_from_slice(self.value) }
    }
}

/// The size of a record with this key and value, if it can be written at all.
pub(crate) fn record_length(key: &[u8], value: &[u8]) -> Option<u32> {
    let length = key.len().checked_add(value.len())?;
    u32::try_from(length).ok()?.checked_add(RECORD_HEAD)
}

/// Appends a record that will stand at `position`.
pub(crate) fn encode_record(out: &mut Vec<u8>, position: Position, head: &RecordHead, key: &[u8], value: &[u8]) {
    let length = record_length(key, value).unwrap_or(u32::MAX);
    let key_length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let (revision, place) =
        head.previous.map_or((0, Place { position: Position::default(), length: 0 }), |p| (p.revision, p.place));
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[head.kind.code(), 0]);
    out.extend_from_slice(&key_length.to_le_bytes());
    for number in [head.revision, head.create_revision, head.version, revision, place.position.to_u64()] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&place.length.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    let crc = seeded_crc(position.to_u64(), out.get(start + 4..).unwrap_or_default());
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Reads the record that stands at `position` and at the start of `bytes`. The error says what is wrong with it.
pub(crate) fn decode_record(bytes: &[u8], position: Position) -> Result<RecordRef<'_>, &'static str> {
    let mut fields = Fields(bytes);
    let (Some(crc), Some(length)) = (fields.u32(), fields.u32()) else { return Err("record cut short") };
    let whole = usize::try_from(length).ok().and_then(|length| bytes.get(..length)).ok_or("record cut short")?;
    if seeded_crc(position.to_u64(), whole.get(4..).unwrap_or_default()) != crc {
        return Err("record with a wrong checksum");
    }
    let mut fields = Fields(whole.get(8..).unwrap_or_default());
    (|| {
        let kind = Kind::from_code(fields.u8()?)?;
        fields.u8()?;
        let key_length = usize::from(fields.u16()?);
        let (revision, create_revision, version) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (before, at, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let (key, value) = fields.0.split_at_checked(key_length)?;
        let previous = (before != 0)
            .then(|| Previous { revision: before, place: Place { position: Position::from_u64(at), length: size } });
        let head = RecordHead { kind, revision, create_revision, version, previous };
        Some(RecordRef { head, place: Place { position, length }, key, value })
    })()
    .ok_or("record of an unknown kind or shape")
}

/// As [`decode_record`], keeping `bytes`.
pub(crate) fn own_record(bytes: Bytes, position: Position) -> Result<Record, &'static str> {
    let record = decode_record(&bytes, position)?;
    Ok(Record { head: record.head, key: bytes.slice_ref(record.key), value: bytes.slice_ref(record.value) })
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&self.log.to_le_bytes());
        rest.extend_from_slice(&self.number.to_le_bytes());
        rest.extend_from_slice(&[0; 4]);
        for number in [self.previous_end.to_u64(), self.revision, self.floor, self.reserved] {
            rest.extend_from_slice(&number.to_le_bytes());
        }
        let mut out = SEGMENT_MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
        out.append(&mut rest);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let rest = bytes.strip_prefix(SEGMENT_MAGIC).ok_or(HeaderError::Unreadable)?;
        let mut fields = Fields(rest);
        let (format, crc) = fields.u32().zip(fields.u32()).ok_or(HeaderError::Unreadable)?;
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        if crc32fast::hash(fields.0.get(..48).ok_or(HeaderError::Unreadable)?) != crc {
            return Err(HeaderError::Unreadable);
        }
        (|| {
            let (log, number, _) = (fields.u64()?, fields.u32()?, fields.u32()?);
            let previous_end = Position::from_u64(fields.u64()?);
            let (revision, floor, reserved) = (fields.u64()?, fields.u64()?, fields.u64()?);
            Some(Self { log, number, previous_end, revision, floor, reserved })
        })()
        .ok_or(HeaderError::Unreadable)
    }
}

/// Why a segment's header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Not a header, or damaged.
    Unreadable,
    /// A header of another version of knarr.
    Format(u32),
}

impl BatchHeader {
    /// The checksum is seeded with the id of the log, so that nobody who chooses a value can make it look like a batch.
    pub(crate) fn encode(&self, log: u64) -> Vec<u8> {
        let mut out = BATCH_MAGIC.to_le_bytes().to_vec();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.position.to_u64().to_le_bytes());
        out.extend_from_slice(&self.durable.to_u64().to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        for number in [self.revision, self.floor, self.reserved, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = seeded_crc(log, out.get(8..).unwrap_or_default());
        if let Some(slot) = out.get_mut(4..8) {
            slot.copy_from_slice(&crc.to_le_bytes());
        }
        out
    }

    /// The header in `bytes`, whatever position it claims. `None` when there is none.
    pub(crate) fn decode(bytes: &[u8], log: u64) -> Option<Self> {
        let bytes = bytes.get(..64)?;
        let mut fields = Fields(bytes);
        let (magic, crc) = (fields.u32()?, fields.u32()?);
        if magic != BATCH_MAGIC || seeded_crc(log, fields.0) != crc {
            return None;
        }
        let (position, durable) = (Position::from_u64(fields.u64()?), Position::from_u64(fields.u64()?));
        let (length, count) = (fields.u32()?, fields.u32()?);
        let (revision, floor, reserved) = (fields.u64()?, fields.u64()?, fields.u64()?);
        Some(Self { position, durable, length, count, revision, floor, reserved })
    }
}

fn seeded_crc(seed: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Takes numbers off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
