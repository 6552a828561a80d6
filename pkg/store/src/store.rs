//! The interface that every backend implements.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

use crate::error::Error;
use crate::model::{Batch, KeyValue, Outcome, Page, Range, Revision, Txn};

/// The store's interface. Everything above it (API server, watch cache, sealing) is written against this trait.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The newest revision that this process knows of and readers may see. Relaxed writes count at once, durable ones when
    /// they are on disk.
    fn revision(&self) -> Revision;

    /// The newest revision of all that were acknowledged before this call, to whatever server: a watch of everything gets
    /// there, and has told of everything then. Where no other server writes, it is [`Store::revision`].
    async fn newest(&self) -> Result<Revision, Error>;

    /// The newest revision that is on disk.
    fn durable_revision(&self) -> Revision;

    /// One key, now.
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error>;

    /// A range of keys, at one revision.
    async fn range(&self, range: Range) -> Result<Page, Error>;

    /// Writes. Concurrent transactions share one `fdatasync`.
    async fn txn(&self, txn: Txn) -> Result<Outcome, Error>;

    /// All changes of keys that start with `prefix`, from revision `from` on (inclusive), without gaps and in order.
    /// `None` means from now on. A slow reader falls back to the log; it never holds up a writer.
    async fn watch(&self, prefix: Bytes, from: Option<Revision>) -> Result<Watch, Error>;

    /// Forgets what was overwritten or deleted before `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Ends this process's part of the store in order, so that the next start has nothing to repair. Nothing can be read,
    /// written or watched any more. Safe to repeat.
    ///
    /// # Errors
    /// When something could not be written; then the next start repairs it.
    async fn close(&self) -> Result<(), Error>;
}

/// How a store is shared.
pub type Shared = Arc<dyn Store>;

/// A running watch. Dropping it ends it.
pub struct Watch {
    /// Yields until the store is closed or fails; see [`Watch::next`].
    pub(crate) stream: Pin<Box<dyn Stream<Item = Result<Batch, Error>> + Send>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Watch")
    }
}

impl Watch {
    /// Wraps a backend's stream.
    pub fn new(stream: impl Stream<Item = Result<Batch, Error>> + Send + 'static) -> Self {
        Self { stream: Box::pin(stream) }
    }

    /// The next revision's changes; `None` when the store was closed.
    pub async fn next(&mut self) -> Option<Result<Batch, Error>> {
        futures::StreamExt::next(&mut self.stream).await
    }
}
