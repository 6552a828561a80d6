//! The ConfigMaps and Secrets that pods of this node refer to, each followed by a watch of its own: the Node authorizer
//! allows nothing wider, and nothing else is held in memory (KEP-2000's watch-based change detection).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long the first answer about an object may take before what needs it is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of an object: nothing yet, or whether it exists.
type Known<K> = Option<Option<Arc<K>>>;

/// One object, followed as long as somebody holds this.
#[derive(Debug)]
pub(crate) struct Followed<K> {
    current: watch::Receiver<Known<K>>,
    _task: AbortOnDropHandle<()>,
}

impl<K> Followed<K> {
    /// The object; waits for the first answer only. `None` when there is no such object, or no answer.
    async fn get(&self) -> Option<Arc<K>> {
        let mut current = self.current.clone();
        let known = tokio::time::timeout(PATIENCE, current.wait_for(Option::is_some)).await;
        known.ok().and_then(|known| known.ok().and_then(|known| known.clone().flatten()))
    }
}

/// By namespace and name. An entry whose followers have all gone is dropped with the next one that is made.
type ByName<K> = HashMap<(String, String), Weak<Followed<K>>>;

/// All objects of one kind that are followed now.
pub(crate) struct Objects<K> {
    client: kube::Client,
    followed: Mutex<ByName<K>>,
}

impl<K> Objects<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, followed: Mutex::default() }
    }

    /// Follows an object, together with everybody else who does.
    fn follow(&self, namespace: &str, name: &str) -> Arc<Followed<K>> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(found) = followed.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        let (sender, current) = watch::channel(None);
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher(api, config).default_backoff();
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            let mut listed = None;
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init) => listed = None,
                    Ok(watcher::Event::InitApply(object)) => listed = Some(Arc::new(object)),
                    Ok(watcher::Event::InitDone) => drop(sender.send_replace(Some(listed.take()))),
                    Ok(watcher::Event::Apply(object)) => drop(sender.send_replace(Some(Some(Arc::new(object))))),
                    Ok(watcher::Event::Delete(_)) => drop(sender.send_replace(Some(None))),
                    Err(error) => tracing::debug!("{}: {error}", K::kind(&())),
                }
            }
        });
        followed.retain(|_, weak| weak.strong_count() > 0);
        let entry = Arc::new(Followed { current, _task: AbortOnDropHandle::new(task) });
        followed.insert(key, Arc::downgrade(&entry));
        entry
    }
}

/// The objects of one kind that one pod refers to.
#[derive(Debug)]
pub(crate) struct References<K>(BTreeMap<String, Arc<Followed<K>>>);

impl<K> Default for References<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K> Clone for References<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> References<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    /// Follows exactly these names from now on.
    pub(crate) fn set(&mut self, objects: &Objects<K>, namespace: &str, names: BTreeSet<String>) {
        self.0.retain(|name, _| names.contains(name));
        for name in names {
            self.0.entry(name).or_insert_with_key(|name| objects.follow(namespace, name));
        }
    }

    /// Those that exist, by name.
    pub(crate) async fn get(&self) -> BTreeMap<String, Arc<K>> {
        let mut found = BTreeMap::new();
        for (name, followed) in &self.0 {
            if let Some(object) = followed.get().await {
                found.insert(name.clone(), object);
            }
        }
        found
    }

    /// Completes when one of them changes after its first answer; never when there is none.
    pub(crate) async fn changed(&self) {
        let mut changes: futures::stream::FuturesUnordered<_> = self
            .0
            .values()
            .map(|followed| {
                let mut current = followed.current.clone();
                async move {
                    if current.wait_for(Option::is_some).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    if current.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            })
            .collect();
        if changes.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
