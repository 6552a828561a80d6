//! Documents are kept compressed: the largest is a tenth of its size that way, and most clients take it as it is.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A document in gzip form.
#[derive(Clone, Debug)]
pub struct Packed {
    /// For `Content-Encoding: gzip`.
    pub gzip: Bytes,
    /// Names the content; for `ETag`, without its quotes.
    pub etag: String,
}

impl Packed {
    /// Packs what `write` writes.
    pub(super) fn write(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        write(&mut encoder)?;
        let gzip = encoder.finish()?;
        let etag = Sha256::digest(&gzip).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { gzip: gzip.into(), etag })
    }

    /// The document as text, for the rare client that does not take gzip.
    ///
    /// # Errors
    /// Never in practice: the reader is memory.
    pub fn unpack(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        GzDecoder::new(&*self.gzip).read_to_end(&mut text)?;
        Ok(text)
    }
}
