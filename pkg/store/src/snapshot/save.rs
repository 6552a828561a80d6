//! Writing a snapshot.

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::{self, DIGEST, Digest, Kind, frame_head};
use super::vault::{self, File, Passphrase, Signer};
use super::{Error, Head, Summary, records};
use crate::error::Error as StoreError;
use crate::model::{Range, Revision};
use crate::sealed::is_sealed;
use crate::store::Shared;

/// What goes into one chunk, and one more record.
const CHUNK: usize = 1 << 20;

/// A snapshot that is about to be written: its revision stands.
///
/// What the snapshot's Secrets are sealed with has to be asked for only now: keys that come later than the revision hold the
/// ones before.
#[derive(Debug)]
pub struct Saving {
    store: Shared,
    revision: Revision,
}

impl Saving {
    /// Fixes the revision: everything acknowledged before is in it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn begin(store: Shared) -> Result<Self, Error> {
        let revision = store.newest().await?;
        Ok(Self { store, revision })
    }

    /// Writes the store at that revision, and these files under a passphrase. Flushes, syncs nothing.
    ///
    /// # Errors
    /// When the store does not give everything, or when `out` does not take it. What was written then has no end, and is
    /// recognised by that.
    pub async fn write(
        self,
        node: &str,
        version: &str,
        keys: Option<(Passphrase, Vec<File>)>,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Summary, Error> {
        let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let head = Head {
            revision: self.revision,
            created: created.map_or(0, |since| since.as_secs()),
            node: node.to_owned(),
            version: version.to_owned(),
        };
        let mut out = Output { out, digest: Digest::default(), size: 0 };
        let start = [frame::preamble(), whole(Kind::Head, &frame::encode_head(&head))?].concat();
        let signer = match keys {
            None => {
                out.put(&start).await?;
                None
            }
            Some((passphrase, files)) => {
                let before = start.clone();
                let (payload, signer) = blocking(move || vault::seal(&passphrase, &files, &before)).await?;
                out.put(&start).await?;
                out.frame(Kind::Keys, &payload).await?;
                Some(signer)
            }
        };
        let (objects, sealed) = self.chunks(&mut out).await?;
        out.end(objects, sealed, signer.as_ref()).await?;
        Ok(Summary { head, objects, sealed, has_keys: signer.is_some(), size: out.size })
    }

    /// Writes all records; how many there were, and how many of them sealed.
    async fn chunks(&self, out: &mut Output<'_, impl AsyncWrite + Unpin>) -> Result<(u64, u64), Error> {
        let (mut objects, mut sealed) = (0, 0);
        let mut start = Bytes::new();
        loop {
            let range = Range { start, bytes: CHUNK, at: Some(self.revision), ..Range::default() };
            let page = self.store.range(range).await.map_err(|error| match error {
                StoreError::Compacted { .. } => Error::Late,
                other => other.into(),
            })?;
            let Some(last) = page.items.last() else { return Ok((objects, sealed)) };
            start = [&last.key[..], &[0]].concat().into();
            objects += page.items.len() as u64;
            sealed += page.items.iter().filter(|item| is_sealed(&item.value)).count() as u64;
            let chunk = blocking(move || records::encode(&page.items)).await?;
            out.frame(Kind::Chunk, &chunk).await?;
            if !page.more {
                return Ok((objects, sealed));
            }
        }
    }
}

/// What is written, with its digest.
struct Output<'a, W> {
    out: &'a mut W,
    digest: Digest,
    size: u64,
}

impl<W: AsyncWrite + Unpin> Output<'_, W> {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.add(bytes);
        self.size += bytes.len() as u64;
        Ok(self.out.write_all(bytes).await?)
    }

    async fn frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        self.put(&frame_head(kind, payload.len())?).await?;
        self.put(payload).await
    }

    async fn end(&mut self, objects: u64, sealed: u64, signer: Option<&Signer>) -> Result<(), Error> {
        let digests = if signer.is_some() { 2 } else { 1 };
        self.put(&frame_head(Kind::End, 2 * size_of::<u64>() + digests * DIGEST)?).await?;
        self.put(&[objects.to_le_bytes(), sealed.to_le_bytes()].concat()).await?;
        if let Some(signer) = signer {
            self.put(&signer.sign(&self.digest.value())).await?;
        }
        self.put(&self.digest.value()).await?;
        Ok(self.out.flush().await?)
    }
}

fn whole(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, Error> {
    Ok([&frame_head(kind, payload.len())?, payload].concat())
}

/// Runs what takes the processor for long.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
