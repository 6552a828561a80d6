//! The store's contract of reads, kept by the cache above it.

use std::sync::Arc;

use bytes::Bytes;
use knarr_api::Status;
use knarr_api::object::encode;
use knarr_base::Shutdown;
use knarr_store::{LogStore, Revision, Shared};
use tokio::task::JoinHandle;

use super::{Cache, Item, Notice, Position, Selection, Start, Token, Watcher};
use crate::registry::{Hooks, Registry, keys};

#[allow(unreachable_pub, reason = "as the tests of the store have it")]
#[path = "../../../store/tests/contract/reads.rs"]
mod reads;

use reads::{Listed, Reader, Refused, change, shown};

/// ConfigMaps of the namespace `default`, read from their cache.
struct Cached {
    cache: Arc<Cache>,
    selection: Arc<Selection>,
    store: Shared,
    feed: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Cached {
    fn drop(&mut self) {
        self.feed.abort();
    }
}

async fn fresh() -> Cached {
    let directory = tempfile::tempdir().unwrap();
    let store: Shared = LogStore::open(&directory, knarr_store::Options::default()).unwrap();
    let (registry, feed) = Registry::open(store.clone(), Vec::new(), Hooks::default()).await.unwrap();
    let feed = tokio::spawn(async move { feed.run(Shutdown::new()).await.unwrap() });
    let cache = registry.cache("", "configmaps").unwrap();
    let selection = Arc::new(Selection::all(cache.kind(), "default"));
    Cached { cache, selection, store, feed, _directory: directory }
}

fn refused(status: Status) -> Refused {
    match status.code {
        410 => Refused::Compacted,
        504 => Refused::Future,
        _ => panic!("{status:?}"),
    }
}

impl Cached {
    fn name(&self, item: &Item) -> String {
        self.selection.names(item).1.to_owned()
    }

    fn text(&self, item: &Item) -> String {
        let object = item.stored.object(self.cache.kind()).unwrap();
        object["data"]["text"].as_str().unwrap().to_owned()
    }

    fn shown(&self, item: &Item) -> String {
        shown(&self.name(item), &self.text(item), item.stored.revision)
    }

    async fn page(&self, position: Position, limit: usize) -> Result<Listed<String>, Refused> {
        let listing = self.cache.list(&self.selection, position, limit).await.map_err(refused)?;
        let items = listing.items.iter().map(|item| self.shown(item)).collect();
        let remaining = listing.remaining.unwrap_or_default();
        Ok(Listed { items, revision: listing.revision, remaining, next: listing.next })
    }
}

impl Reader for Cached {
    type Next = String;
    type Watch = Watcher;

    fn store(&self) -> &Shared {
        &self.store
    }

    fn key(&self, name: &str) -> Bytes {
        keys::object(self.cache.kind(), "default", name)
    }

    fn value(&self, text: &str) -> Bytes {
        let object = serde_json::json!({"metadata": {"namespace": "default"}, "data": {"text": text}});
        encode(object.as_object().unwrap()).unwrap().into()
    }

    async fn get(&self, name: &str) -> Option<String> {
        self.cache.get(&self.key(name)).await.unwrap().map(|item| self.shown(&item))
    }

    async fn list(&self, at: Option<Revision>, limit: usize) -> Result<Listed<String>, Refused> {
        self.page(at.map_or(Position::Now, Position::Exact), limit).await
    }

    async fn go_on(&self, next: String, limit: usize) -> Result<Listed<String>, Refused> {
        let token = Token::decode(&next, self.selection.root()).unwrap();
        self.page(Position::Continue(token), limit).await
    }

    async fn watch(&self, after: Revision) -> Result<Watcher, Refused> {
        self.cache.watch(self.selection.clone(), Start::After(after)).await.map_err(refused)
    }

    async fn next(&self, watch: &mut Watcher) -> Result<String, Refused> {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await;
        let notice = next.expect("no change came").expect("the watch ended").map_err(refused)?;
        let Notice::Change(_, event) = notice else { panic!("{notice:?}") };
        let text = |item: &Option<Arc<Item>>| item.as_ref().map(|item| self.text(item));
        let name = event.now.as_ref().or(event.previous.as_ref()).map(|item| self.name(item)).unwrap();
        Ok(change(event.revision, &name, text(&event.previous).as_deref(), text(&event.now).as_deref()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_keeps_the_contract_of_reads() {
    reads::run(fresh).await;
}
