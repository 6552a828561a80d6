//! The outer form of a snapshot: frames, and the digest over all of them.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

use super::{Error, Head};

/// The version of everything in a snapshot.
pub(super) const FORMAT: u32 = 1;
/// What a snapshot begins with, before the format.
pub(super) const MAGIC: &[u8; 15] = b"knarr snapshot\n";
/// Size of a SHA-256, and of an HMAC of it.
pub(super) const DIGEST: usize = 32;

/// No frame is longer: a chunk ends with the record that makes it larger than it should be.
const LONGEST: u32 = 64 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Head = 1,
    Keys = 2,
    Chunk = 3,
    End = 4,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Head, Self::Keys, Self::Chunk, Self::End].into_iter().find(|kind| *kind as u8 == code)
    }
}

/// The digest of what has been written or read so far.
#[derive(Clone)]
pub(super) struct Digest(Context);

impl Default for Digest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(&self) -> [u8; DIGEST] {
        let mut value = [0; DIGEST];
        let digest = self.0.clone().finish();
        value.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        value
    }
}

/// The bytes before the first frame.
pub(super) fn preamble() -> Vec<u8> {
    [&MAGIC[..], &FORMAT.to_le_bytes()].concat()
}

/// The bytes of a frame before its payload.
pub(super) fn frame_head(kind: Kind, length: usize) -> Result<Vec<u8>, Error> {
    let length = u32::try_from(length).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    Ok([&[kind as u8][..], &length.to_le_bytes()].concat())
}

pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let mut out = [head.revision.to_le_bytes(), head.created.to_le_bytes()].concat();
    put_text(&mut out, &head.node);
    put_text(&mut out, &head.version);
    out
}

pub(super) fn decode_head(payload: &[u8]) -> Option<Head> {
    let mut fields = Fields(payload);
    let head = Head { revision: fields.u64()?, created: fields.u64()?, node: fields.text()?, version: fields.text()? };
    fields.0.is_empty().then_some(head)
}

/// A name: what is longer than any is cut.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes().get(..length.into()).unwrap_or_default());
}

/// Reads frames, and adds up their digest.
pub(super) struct Frames<R> {
    input: R,
    digest: Digest,
    read: u64,
}

impl<R: Read> Frames<R> {
    /// Reads what comes before the first frame.
    pub(super) fn open(input: R) -> Result<Self, Error> {
        let mut frames = Self { input, digest: Digest::default(), read: 0 };
        let magic = frames.take::<{ MAGIC.len() }>().map_err(|error| match error {
            Error::Cut => Error::Foreign,
            other => other,
        })?;
        if magic != *MAGIC {
            return Err(Error::Foreign);
        }
        match u32::from_le_bytes(frames.take()?) {
            FORMAT => Ok(frames),
            other => Err(Error::Format(other)),
        }
    }

    /// The next frame. That of the end is not in the digest as a whole: see [`Frames::digest_of`].
    pub(super) fn next(&mut self) -> Result<(Kind, Vec<u8>), Error> {
        let [code] = self.take()?;
        let length = u32::from_le_bytes(self.take()?);
        let kind = Kind::from_code(code).ok_or(Error::Damaged("it has a part of an unknown kind"))?;
        if length > LONGEST {
            return Err(Error::Damaged("a part of it is too long"));
        }
        // Grows as it is read: the length may be anything.
        let mut payload = Vec::new();
        self.input.by_ref().take(length.into()).read_to_end(&mut payload)?;
        if payload.len() < length as usize {
            return Err(Error::Cut);
        }
        self.read += u64::from(length);
        if kind != Kind::End {
            self.digest.add(&payload);
        }
        Ok((kind, payload))
    }

    /// The digest of all that was read, and of these bytes.
    pub(super) fn digest_of(&self, bytes: &[u8]) -> [u8; DIGEST] {
        let mut digest = self.digest.clone();
        digest.add(bytes);
        digest.value()
    }

    /// How many bytes were read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(self.input.by_ref().take(1).read_to_end(&mut Vec::new())? == 0)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Cut,
            _ => Error::File(error),
        })?;
        self.digest.add(&bytes);
        self.read += N as u64;
        Ok(bytes)
    }
}

/// Takes fields off the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.u16()?;
        String::from_utf8(self.bytes(length.into())?.to_vec()).ok()
    }
}
