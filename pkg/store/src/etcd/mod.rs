//! The store of several servers: etcd, [`EtcdStore`].
//!
//! A transaction of the store is one of etcd, revisions are etcd's, everything is durable when it is answered. What differs:
//!
//! * **Others write, too.** [`Store::newest`] asks etcd for its revision. When this process has not heard of it yet, it is
//!   another server's write, which the watch brings at any moment, or one of somebody else in the same etcd, of which no
//!   watch of ours will ever tell. After a moment of waiting the store writes a *mark*, a key that is no key of the
//!   store but within its watches. Its revision is one that every watch of everything gets to, without asking for
//!   progress (before etcd 3.4.25 and 3.5.8 such an answer may overtake events). An etcd that is ours alone never sees it.
//! * **A watch needs the revision before its first one**: etcd forgets at a compaction what the first change overwrote.
//!   It begins after the oldest revision, not at it.
//! * **etcd can be away.** Reads and writes are tried on one server after the other for half a minute, writes only as
//!   long as they were surely not done, and then fail with [`Error::Unavailable`]. Watches wait, and go on without a gap.

mod connection;
mod convert;
mod failure;
mod keys;
mod options;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse, WatchOptions};
use tokio::sync::{Mutex, watch as channel};

use self::connection::{Connection, Repeat};
use self::convert::{key_value, revision, signed, unsigned};
use self::failure::Refusal;
use self::keys::Keys;
pub use self::options::EtcdOptions;
use self::watch::Watching;
use crate::error::Error;
use crate::limits;
use crate::model::{KeyValue, Outcome, Page, Range, Revision, Txn};
use crate::store::{Store, Watch};

/// How long a watch gets to bring what another server wrote, before a mark is written.
const NEWS: Duration = Duration::from_millis(20);
/// What a key and its value take, as a rule.
const USUAL_SIZE: usize = 32 << 10;
/// etcd tells a watch of a compacted revision within a tenth of a second.
const TELLING: Duration = Duration::from_secs(5);

/// A store in etcd.
#[derive(Debug)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

/// What the store and its watches share.
#[derive(Debug)]
struct Inner {
    connection: Connection,
    keys: Keys,
    /// The newest revision in which a key of the store changed, as far as this process knows.
    seen: channel::Sender<Revision>,
    marking: Mutex<()>,
}

/// What a look at etcd shows.
struct Look {
    /// Its revision.
    revision: Revision,
    /// That of the mark; 0 without one.
    mark: Revision,
}

impl EtcdStore {
    /// Opens the store. Waits for etcd for up to half a minute.
    ///
    /// # Errors
    /// [`Error::Open`] when the options make no sense, [`Error::Unavailable`] when etcd cannot be reached.
    pub async fn open(options: EtcdOptions) -> Result<Arc<Self>, Error> {
        let keys = options.check()?;
        let connection = Connection::new(options);
        let inner = Inner { connection, keys, seen: channel::Sender::new(1), marking: Mutex::default() };
        inner.newest().await?;
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }
}

impl Inner {
    /// A key of the store changed in this revision.
    fn saw(&self, revision: Revision) {
        self.seen.send_if_modified(|seen| {
            let newer = revision > *seen;
            *seen = revision.max(*seen);
            newer
        });
    }

    /// Asks all servers for the newest state, or whether that of a revision can still be read.
    async fn look(&self, at: Option<Revision>) -> Result<Look, Error> {
        let options = at.map_or(GetOptions::new(), |at| GetOptions::new().with_revision(signed(at)));
        let got = self.get(self.keys.mark(), options).await;
        let got = match got {
            Ok(got) => got,
            Err(refusal) => return Err(self.unreadable(refusal, at).await),
        };
        let mark = got.kvs().first().map_or(0, |kv| unsigned(kv.mod_revision()));
        Ok(Look { revision: revision(got.header()), mark })
    }

    async fn get(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, Refusal> {
        let get = |mut peer: connection::Peer| {
            let (key, options) = (key.clone(), options.clone());
            async move { peer.kv.get(key, Some(options)).await }
        };
        self.connection.call(Repeat::Freely, get).await
    }

    /// The error of a read that etcd refused.
    async fn unreadable(&self, refusal: Refusal, at: Option<Revision>) -> Error {
        let asked = at.unwrap_or_default();
        let told = match refusal {
            Refusal::Compacted => self.oldest(asked).await.map(|oldest| Error::Compacted { asked, oldest }),
            Refusal::Future => {
                // Boxed, as this is how a look ends.
                let now = Box::pin(self.look(None)).await;
                now.map(|now| Error::FutureRevision { asked, newest: now.revision })
            }
            other => Ok(other.into_error()),
        };
        told.unwrap_or_else(|error| error)
    }

    /// The oldest revision that can be read, when `compacted` cannot. Only a watch is told.
    async fn oldest(&self, compacted: Revision) -> Result<Revision, Error> {
        let options = WatchOptions::new().with_start_revision(signed(compacted.max(1)));
        let watch = |mut peer: connection::Peer| {
            let (key, options) = (self.keys.mark(), options.clone());
            async move {
                let mut stream = peer.watch.watch(key, Some(options)).await?;
                while let Some(message) = stream.message().await? {
                    if message.compact_revision() > 0 {
                        return Ok(unsigned(message.compact_revision()));
                    }
                }
                Ok(0)
            }
        };
        let asked = self.connection.call(Repeat::Freely, watch);
        let told = tokio::time::timeout(TELLING, asked).await;
        let oldest = told.unwrap_or(Ok(0)).map_err(Refusal::into_error)?;
        Ok(oldest.max(compacted + 1))
    }

    /// See [`Store::newest`].
    async fn newest(&self) -> Result<Revision, Error> {
        let now = self.look(None).await?;
        self.saw(now.mark);
        if now.revision > 1 && !self.hears_of(now.revision).await {
            self.mark(now.revision).await?;
        }
        Ok(*self.seen.borrow())
    }

    async fn hears_of(&self, revision: Revision) -> bool {
        let mut seen = self.seen.subscribe();
        let heard = tokio::time::timeout(NEWS, seen.wait_for(|seen| *seen >= revision)).await;
        matches!(heard, Ok(Ok(_)))
    }

    /// Makes a revision of ours that is newer than this one. One mark does for all who wait.
    async fn mark(&self, revision: Revision) -> Result<(), Error> {
        let _one_at_a_time = self.marking.lock().await;
        if *self.seen.borrow() >= revision {
            return Ok(());
        }
        let put = |mut peer: connection::Peer| {
            let key = self.keys.mark();
            async move { peer.kv.put(key, Vec::new(), None).await }
        };
        let put = self.connection.call(Repeat::Freely, put).await.map_err(Refusal::into_error)?;
        self.saw(convert::revision(put.header()));
        Ok(())
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn revision(&self) -> Revision {
        *self.inner.seen.borrow()
    }

    async fn newest(&self) -> Result<Revision, Error> {
        self.inner.newest().await
    }

    fn durable_revision(&self) -> Revision {
        self.revision()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        // What cannot be a key is none.
        let Ok(key) = self.inner.keys.outer(key) else { return Ok(None) };
        let mut got = self.inner.get(key, GetOptions::new()).await.map_err(Refusal::into_error)?;
        Ok(got.take_kvs().pop().and_then(|kv| key_value(&self.inner.keys, kv.0)))
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        if range.at == Some(0) {
            // etcd takes it for now.
            return Err(Error::Compacted { asked: 0, oldest: self.inner.oldest(0).await? });
        }
        let (start, end) = self.inner.keys.range(&range.start, &range.end);
        // etcd does not count bytes.
        let bound = if range.bytes == 0 { 0 } else { (range.bytes / USUAL_SIZE).max(1) };
        let limit = if range.limit == 0 || bound == 0 { range.limit.max(bound) } else { range.limit.min(bound) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_range(end).with_limit(limit).with_revision(range.at.map_or(0, signed));
        let mut got = match self.inner.get(start, options).await {
            Ok(got) => got,
            Err(refusal) => return Err(self.inner.unreadable(refusal, range.at).await),
        };
        let items = got.take_kvs().into_iter().filter_map(|kv| key_value(&self.inner.keys, kv.0)).collect();
        let count = usize::try_from(got.count()).unwrap_or_default();
        let revision = range.at.unwrap_or_else(|| convert::revision(got.header()));
        Ok(Page { items, more: got.more(), count, revision })
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome, Error> {
        limits::check(&txn)?;
        let request = convert::request(&self.inner.keys, &txn)?;
        let send = |mut peer: connection::Peer| {
            let request = request.clone();
            async move { peer.kv.txn(request).await }
        };
        let response = self.inner.connection.call(Repeat::WhenNotDone, send).await;
        let response = response.map_err(|refusal| match refusal {
            // The server is configured to take less than it does by default.
            Refusal::TooLarge => Error::TooLarge(txn.ops.iter().map(limits::value_size).sum()),
            other => other.into_error(),
        })?;
        let (outcome, changed) = convert::outcome(&self.inner.keys, &txn, &response);
        if changed && let Outcome::Done(revision) = outcome {
            self.inner.saw(revision);
        }
        Ok(outcome)
    }

    async fn watch(&self, prefix: Bytes, from: Option<Revision>) -> Result<Watch, Error> {
        let watching = Watching::start(self.inner.clone(), prefix, from).await?;
        Ok(Watch::new(futures::stream::unfold(watching, |mut watching| async {
            let batch = watching.next().await?;
            Some((batch, watching))
        })))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let compact = |mut peer: connection::Peer| async move { peer.kv.compact(signed(revision), None).await };
        match self.inner.connection.call(Repeat::Freely, compact).await {
            // Another server may have been earlier.
            Ok(_) | Err(Refusal::Compacted) => Ok(()),
            Err(refusal) => Err(self.inner.unreadable(refusal, Some(revision)).await),
        }
    }

    /// etcd goes on, for other servers.
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
