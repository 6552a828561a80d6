//! The store of one machine: [`LogStore`].

mod feed;
mod group;
mod history;
mod open;
mod options;
mod queue;
mod signal;
mod state;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::engine::history::Watching;
pub use crate::engine::options::{Options, Stats};
use crate::engine::queue::{Queue, Request};
use crate::engine::signal::{Signal, Wanted};
use crate::engine::state::State;
use crate::engine::upkeep::Upkeep;
use crate::engine::writer::Writer;
use crate::error::Error;
use crate::limits;
use crate::log::disk::{Directory, Disk};
use crate::model::{KeyValue, Outcome, Page, Range, Revision, Txn};
use crate::store::{Store, Watch};

/// A store in a directory of this machine.
///
/// Dropping it ends it as a crash would, without losing anything; [`LogStore::close`] is the orderly end, after which the
/// next start has the least to do. Drop its watches before the same process opens the directory again.
#[derive(Debug)]
pub struct LogStore {
    state: Arc<State>,
    queue: Arc<Queue>,
    upkeep: Arc<Signal>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

impl LogStore {
    /// Opens the store in `directory`, which is made if it is missing. Blocks: milliseconds as a rule, longer when the index
    /// has to be built again.
    ///
    /// # Errors
    /// [`Error::Open`] when the directory is in use, unreadable or of another format; [`Error::Damaged`] when something is
    /// missing in the log that was once safe on disk.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, Error> {
        let directory = directory.as_ref();
        let disk = Arc::new(Directory::open(directory)?);
        let boot = knarr_base::clock::boot_id().map_err(|error| Error::Open(format!("no boot id: {error}")))?;
        Self::open_on(disk, directory, &boot, options)
    }

    fn open_on(disk: Arc<dyn Disk>, directory: &Path, boot: &str, mut options: Options) -> Result<Arc<Self>, Error> {
        options.segment_size = options.segment_size.clamp(64 << 10, 1 << 30).next_multiple_of(4096);
        let opened = open::open(disk, directory, boot, &options)?;
        let (state, queue, signal) = (opened.state, Arc::new(Queue::default()), Arc::new(Signal::default()));
        let upkeep = Upkeep {
            state: Arc::clone(&state),
            queue: Arc::clone(&queue),
            signal: Arc::clone(&signal),
            options: options.clone(),
            floor: opened.forgotten,
            settled: opened.forgotten,
        };
        let writer = Writer {
            state: Arc::clone(&state),
            queue: Arc::clone(&queue),
            upkeep: Arc::clone(&signal),
            appender: opened.appender,
            options,
            revision: opened.revision,
            reserved: (opened.reserved, opened.reserved),
            sync_by: None,
            full_until: None,
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(|error| Error::Open(format!("cannot start a thread: {error}")))
        };
        let writer = spawn("store-writer", Box::new(move || writer.run()))?;
        let upkeep = spawn("store-upkeep", Box::new(move || upkeep.run()))?;
        // Finishes what an earlier process left.
        signal.ask();
        Ok(Arc::new(Self { state, queue, upkeep: signal, threads: Mutex::new(Some(Threads { writer, upkeep })) }))
    }

    /// A look at the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Where the next batch goes in the segment written now.
    #[cfg(test)]
    fn log_end(&self) -> usize {
        let newest = self.state.log.headers().last().map_or(1, |header| header.number);
        let start = crate::log::format::Position::new(newest, crate::log::format::SEGMENT_HEADER);
        let mut scan = self.state.log.scan(start).unwrap();
        while let crate::log::scan::Next::Batch(header) = scan.peek().unwrap() {
            scan.skip(&header);
        }
        scan.position().offset as usize
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(request(reply));
        answer.await.unwrap_or_else(|_| Err(self.state.ended.get().cloned().unwrap_or(Error::Closed)))
    }

    /// Runs something that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if let Some(Error::Closed) = self.state.ended.get() {
            return Err(Error::Closed);
        }
        let state = Arc::clone(&self.state);
        let result = tokio::task::spawn_blocking(move || read(&state)).await;
        result.map_err(|error| Error::Poisoned(format!("a read ended: {error}")))?
    }
}

async fn join(thread: JoinHandle<()>) -> Result<(), Error> {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(())) => Ok(()),
        _ => Err(Error::Poisoned("a thread of the store panicked".to_owned())),
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.upkeep.end(Wanted::Abandon);
            self.queue.push(Request::Abandon);
            // Their panics have been turned into errors already.
            let _joined = (threads.writer.join(), threads.upkeep.join());
        }
    }
}

#[async_trait]
impl Store for LogStore {
    fn revision(&self) -> Revision {
        self.state.feed.visible()
    }

    async fn newest(&self) -> Result<Revision, Error> {
        Ok(self.revision())
    }

    fn durable_revision(&self) -> Revision {
        self.state.durable.load(Ordering::Acquire)
    }

    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        let key = key.to_vec();
        self.read(move |state| state.get(&key, state.feed.visible())).await
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        self.read(move |state| state.range(&range)).await
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome, Error> {
        limits::check(&txn)?;
        self.ask(|reply| Request::Write(txn, reply)).await
    }

    async fn watch(&self, prefix: Bytes, from: Option<Revision>) -> Result<Watch, Error> {
        if let Some(ended) = self.state.ended.get() {
            return Err(ended.clone());
        }
        let watching = Watching::start(&self.state, prefix, from)?;
        Ok(Watch::new(futures::stream::unfold(watching, |mut watching| async {
            let batch = watching.next().await?;
            Some((batch, watching))
        })))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|reply| Request::Compact(revision, reply)).await
    }

    /// Everything acknowledged is on disk then, and the index is complete.
    async fn close(&self) -> Result<(), Error> {
        let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        self.upkeep.end(Wanted::Stop);
        join(threads.upkeep).await?;
        let closed = self.ask(Request::Close).await;
        join(threads.writer).await?;
        closed
    }
}
