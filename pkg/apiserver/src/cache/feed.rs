//! The one task that brings the store's changes into the caches.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use knarr_api::kind::KindRef;
use knarr_base::Shutdown;
use knarr_store::{Batch, Range, Revision, Shared, Watch, prefix_end};
use tokio::sync::watch;

use super::facts::Reader;
use super::item::Item;
use super::progress::Progress;
use super::ring::Ring;
use super::{Age, Cache, State};
use crate::registry::keys;

/// After a start the rings are refilled with the events of so many revisions, so that clients that were watching before
/// need not read the store, let alone list again.
const REFILL: u64 = 2000;

/// Objects are read from the store in pages of so many.
const PAGE: usize = 1000;

/// Why the feed ended. Nobody could read any more, so the process drains and starts again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("reading the store: {0}")]
    Store(#[from] knarr_store::Error),
    /// A value is not what the registry writes.
    #[error("value of {key}: {cause}")]
    Malformed {
        /// Its key.
        key: String,
        /// What is wrong.
        cause: knarr_api::object::Malformed,
    },
}

/// Carries changes from the store to the caches.
#[derive(Debug)]
pub struct Feed {
    caches: HashMap<Bytes, Arc<Cache>>,
    /// What the caches were filled with.
    loaded: Revision,
    applied: watch::Sender<Revision>,
    refilled: Arc<AtomicBool>,
    watch: Watch,
}

impl Feed {
    /// Fills a cache for each kind.
    pub(crate) async fn open(store: &Shared, kinds: impl Iterator<Item = KindRef>) -> Result<Self, Error> {
        let loaded = store.revision();
        let (watch, since) = history(store, loaded).await?;
        let (applied, progress) = watch::channel(loaded);
        let refilled = Arc::new(AtomicBool::new(since >= loaded));
        let mut feed = Self { caches: HashMap::new(), loaded, applied, refilled: refilled.clone(), watch };
        for kind in kinds {
            let cache = load(store, kind, loaded, since, Progress::new(progress.clone(), refilled.clone())).await?;
            feed.caches.insert(cache.prefix.clone(), Arc::new(cache));
        }
        Ok(feed)
    }

    /// The caches, by the prefix of their keys.
    pub(crate) fn caches(&self) -> HashMap<Bytes, Arc<Cache>> {
        self.caches.clone()
    }

    /// Runs until the drain starts.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Error> {
        while let Some(Some(batch)) = shutdown.or(self.watch.next()).await {
            self.apply(batch?)?;
        }
        if shutdown.started() { Ok(()) } else { Err(knarr_store::Error::Closed.into()) }
    }

    fn apply(&self, batch: Batch) -> Result<(), Error> {
        let age = if batch.revision <= self.loaded { Age::History } else { Age::New };
        let mut by_cache: Vec<(&Arc<Cache>, Vec<knarr_store::Event>)> = Vec::with_capacity(1);
        for event in batch.events {
            let cache = keys::kind_part(event_key(&event)).and_then(|prefix| self.caches.get(prefix));
            let Some(cache) = cache else { continue };
            match by_cache.iter_mut().find(|(own, _)| Arc::ptr_eq(own, cache)) {
                Some((_, events)) => events.push(event),
                None => by_cache.push((cache, vec![event])),
            }
        }
        for (cache, events) in by_cache {
            cache.apply(events, age).map_err(|cause| malformed(&cache.prefix, cause))?;
        }
        if batch.revision >= self.loaded {
            self.refilled.store(true, Ordering::Release);
        }
        if age == Age::New {
            self.applied.send_replace(batch.revision);
        }
        Ok(())
    }
}

/// A watch on everything, from a little before `loaded` on, and the revision after which it has everything.
async fn history(store: &Shared, loaded: Revision) -> Result<(Watch, Revision), knarr_store::Error> {
    let since = loaded.saturating_sub(REFILL).max(1);
    match store.watch(Bytes::new(), Some(since + 1)).await {
        Ok(watch) => Ok((watch, since)),
        Err(knarr_store::Error::Compacted { oldest, .. }) => {
            let since = oldest.min(loaded);
            Ok((store.watch(Bytes::new(), Some(since + 1)).await?, since))
        }
        Err(other) => Err(other),
    }
}

async fn load(
    store: &Shared,
    kind: KindRef,
    at: Revision,
    since: Revision,
    progress: Progress,
) -> Result<Cache, Error> {
    let prefix = keys::kind(&kind);
    let reader = Reader::new(kind.clone());
    let mut items = BTreeMap::new();
    let mut bytes = 0;
    let mut start = prefix.clone();
    loop {
        let range = Range { start, end: prefix_end(&prefix), limit: PAGE, at: Some(at), ..Range::default() };
        let page = store.range(range).await?;
        for entry in page.items {
            let key = entry.key.clone();
            let item = Item::read(entry, &reader).map_err(|cause| malformed(&key, cause))?;
            bytes += item.stored.bytes.len();
            items.insert(key, item);
        }
        let last = items.last_key_value().map(|(key, _): (&Bytes, _)| key.clone());
        start = match last {
            Some(last) if page.more => [&last[..], b"\0"].concat().into(),
            _ => break,
        };
    }
    // A delete leaves no trace among the objects, so any revision up to `at` may have been the last change.
    let state = State { items, bytes, changed: at, ring: Ring::new(since), queues: BTreeMap::new(), next_queue: 0 };
    Ok(Cache { kind, prefix, reader, store: store.clone(), progress, state: RwLock::new(state) })
}

pub(super) fn event_key(event: &knarr_store::Event) -> &Bytes {
    match event {
        knarr_store::Event::Put { now, .. } => &now.key,
        knarr_store::Event::Delete { previous, .. } => &previous.key,
    }
}

fn malformed(key: &Bytes, cause: knarr_api::object::Malformed) -> Error {
    Error::Malformed { key: String::from_utf8_lossy(key).into_owned(), cause }
}
