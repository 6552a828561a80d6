//! Reading a snapshot.

use std::io::Read;

use super::frame::{DIGEST, Fields, Frames, Kind, decode_head, encode_head, frame_head, preamble};
use super::vault::{self, File, Passphrase, Signer};
use super::{Error, Head, records};
use crate::model::KeyValue;
use crate::sealed::is_sealed;

/// What is in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What it says of itself.
    pub head: Head,
    /// Keys of the store in it.
    pub objects: u64,
    /// Those of them whose values are sealed.
    pub sealed: u64,
    /// Whether the keys of the cluster are in it.
    pub has_keys: bool,
    /// Its size in bytes.
    pub size: u64,
}

/// Gives the records of a snapshot, one chunk of them in memory. What it has given is to be trusted only when its end has
/// come without an error: the digest is there.
pub struct Reader<R> {
    frames: Frames<R>,
    head: Head,
    keys: Option<Vec<u8>>,
    signer: Option<Signer>,
    /// The frame that was read to see whether it holds the keys.
    next: Option<(Kind, Vec<u8>)>,
    chunk: std::vec::IntoIter<KeyValue>,
    objects: u64,
    sealed: u64,
    ended: bool,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reader").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads what comes before the records.
    ///
    /// # Errors
    /// When it cannot be read, or is not the start of a snapshot.
    pub fn open(input: R) -> Result<Self, Error> {
        let mut frames = Frames::open(input)?;
        let head = match frames.next()? {
            (Kind::Head, payload) => decode_head(&payload),
            _ => None,
        };
        let head = head.ok_or(Error::Damaged("its head is malformed"))?;
        let (keys, next) = match frames.next()? {
            (Kind::Keys, payload) => (Some(payload), None),
            other => (None, Some(other)),
        };
        let chunk = Vec::new().into_iter();
        Ok(Self { frames, head, keys, signer: None, next, chunk, objects: 0, sealed: 0, ended: false })
    }

    /// What the snapshot says of itself.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the keys of the cluster are in it.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// The files that are sealed in it, none if it has no keys. From here on, the snapshot's end shows also whether all of it
    /// is from who knew the passphrase.
    ///
    /// # Errors
    /// [`Error::Passphrase`] when it is another one.
    pub fn unlock(&mut self, passphrase: &Passphrase) -> Result<Vec<File>, Error> {
        let Some(payload) = &self.keys else { return Ok(Vec::new()) };
        let head = encode_head(&self.head);
        let before = [preamble(), frame_head(Kind::Head, head.len())?, head].concat();
        let (files, signer) = vault::open(passphrase, payload, &before)?;
        self.signer = Some(signer);
        Ok(files)
    }

    /// Reads to the end; what there was.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn verify(mut self) -> Result<Summary, Error> {
        for item in &mut self {
            item?;
        }
        let Self { head, objects, sealed, keys, .. } = self;
        Ok(Summary { head, objects, sealed, has_keys: keys.is_some(), size: self.frames.read() })
    }

    fn step(&mut self) -> Result<Option<KeyValue>, Error> {
        loop {
            if let Some(item) = self.chunk.next() {
                if item.mod_revision > self.head.revision {
                    return Err(Error::Damaged("a record of it is newer than it is"));
                }
                self.objects += 1;
                self.sealed += u64::from(is_sealed(&item.value));
                return Ok(Some(item));
            }
            let frame = self.next.take().map_or_else(|| self.frames.next(), Ok)?;
            match frame {
                (Kind::Chunk, payload) => self.chunk = records::decode(&payload)?.into_iter(),
                (Kind::End, payload) => return self.end(&payload).map(|()| None),
                _ => return Err(Error::Damaged("its parts are in disorder")),
            }
        }
    }

    fn end(&mut self, payload: &[u8]) -> Result<(), Error> {
        let (signed, digest) = payload.split_last_chunk::<DIGEST>().ok_or(Error::Damaged("its end is malformed"))?;
        if self.frames.digest_of(signed) != *digest {
            return Err(Error::Damaged("its checksum is another one"));
        }
        if !self.frames.is_at_end()? {
            return Err(Error::Damaged("something follows its end"));
        }
        let mut fields = Fields(signed);
        if (fields.u64(), fields.u64()) != (Some(self.objects), Some(self.sealed)) {
            return Err(Error::Damaged("its end does not fit what is in it"));
        }
        let counts = signed.get(..signed.len() - fields.0.len()).unwrap_or_default();
        match (&self.signer, self.has_keys()) {
            (Some(signer), _) => signer.verify(&self.frames.digest_of(counts), fields.0),
            (None, has_keys) if fields.0.len() == if has_keys { DIGEST } else { 0 } => Ok(()),
            (None, _) => Err(Error::Damaged("its end is malformed")),
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<KeyValue, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.step().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}
