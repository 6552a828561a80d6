//! The last part of the log, in memory.
//!
//! What is written past the page cache is not in it. Soon the kernel is told to read it back, in pieces: who overwrites a
//! value needs the old one. Until it has, the bytes are here, and what changes often is never read from the disk.

use std::ops::Range;

use bytes::Bytes;

use crate::log::format::{Place, Position};

/// So much is read back at once.
const PIECE: u32 = 128 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tail {
    start: Position,
    bytes: Vec<u8>,
}

impl Tail {
    /// The bytes of a place, if all of them are here.
    pub(super) fn bytes(&self, place: Place) -> Option<Bytes> {
        let is_here = place.position.segment == self.start.segment;
        let from = place.position.offset.checked_sub(self.start.offset).filter(|_| is_here)? as usize;
        Some(Bytes::copy_from_slice(self.bytes.get(from..from + place.length as usize)?))
    }

    /// Takes what was written at `position`; answers which part of the segment is now to be read back.
    pub(super) fn extend(&mut self, position: Position, written: &[u8]) -> Option<Range<u64>> {
        let end = self.start.plus(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        if position != end {
            self.bytes.clear();
            self.start = position;
        }
        let before = position.offset;
        let after = before.saturating_add(u32::try_from(written.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(written);
        let (known, complete) = (before / PIECE * PIECE, after / PIECE * PIECE);
        (complete > known).then(|| {
            // The piece that the kernel is only now told of stays.
            let keep_from = complete.saturating_sub(PIECE).max(self.start.offset);
            self.bytes.drain(..(keep_from - self.start.offset) as usize);
            self.bytes.shrink_to(4 * PIECE as usize);
            self.start.offset = keep_from;
            known.into()..complete.into()
        })
    }
}
