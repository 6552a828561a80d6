//! The ownership metadata of every object of every kind, those of CustomResourceDefinitions included: what garbage
//! collection and the deletion of namespaces work on.
//!
//! One metadata-only watch per kind. Events are left out: nothing owns them, and there are many.

mod discovery;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use knarr_client::cache::Metadata;
use knarr_client::{Cache, Caches, Change, Changes, Index};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use tokio::sync::watch;

pub(crate) use discovery::Kind;

/// How long a kind may take to be served, roughly.
const LAST_LOOK: Duration = Duration::from_secs(16);

/// A kind, and its objects where they are tracked.
#[derive(Clone)]
pub(crate) struct Tracked {
    pub(crate) kind: Arc<Kind>,
    pub(crate) objects: Option<Objects>,
}

/// The objects of a kind.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) cache: Cache<Metadata>,
    by_owner: Index<Metadata>,
}

impl Objects {
    pub(crate) fn new(cache: Cache<Metadata>) -> Self {
        let by_owner = cache.index("owner", |object| object.owners.iter().map(|owner| owner.uid.clone()).collect());
        Self { cache, by_owner }
    }
}

/// Told of each change of a tracked object.
type Listener = Box<dyn Fn(&Arc<Kind>, &Change<Metadata>) + Send + Sync>;

/// See the module's page.
pub(crate) struct Inventory {
    caches: Caches,
    client: Client,
    kinds: RwLock<BTreeMap<Arc<str>, Tracked>>,
    complete: watch::Sender<bool>,
}

impl Inventory {
    /// `caches` feed it, `client` asks which kinds there are.
    pub(crate) fn new(caches: Caches, client: Client) -> Self {
        Self { caches, client, kinds: RwLock::default(), complete: watch::Sender::new(false) }
    }

    /// An inventory of these kinds, complete and unchanging.
    #[cfg(test)]
    pub(crate) fn fixed(client: Client, kinds: impl IntoIterator<Item = (Kind, Vec<Metadata>)>) -> Self {
        let tracked = |(kind, objects): (Kind, _)| {
            let objects = Some(Objects::new(Cache::fixed(objects)));
            (kind.resource.clone(), Tracked { kind: Arc::new(kind), objects })
        };
        let kinds = RwLock::new(kinds.into_iter().map(tracked).collect());
        Self { caches: Caches::new(client.clone()).0, client, kinds, complete: watch::Sender::new(true) }
    }

    /// Completes when the objects of all kinds that existed at the start are known.
    pub(crate) async fn complete(&self) {
        let mut complete = self.complete.subscribe();
        // The sender is part of `self`.
        let _closed = complete.wait_for(|complete| *complete).await;
    }

    /// A kind by its qualified plural.
    pub(crate) fn kind(&self, resource: &str) -> Option<Tracked> {
        self.read().get(resource).cloned()
    }

    /// All kinds.
    pub(crate) fn kinds(&self) -> Vec<Tracked> {
        self.read().values().cloned().collect()
    }

    /// The kind that an owner reference means: its version may be another one.
    pub(crate) fn kind_of(&self, owner: &OwnerReference) -> Option<Tracked> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        self.read().values().find(|t| t.kind.api.kind == owner.kind && t.kind.api.group == group).cloned()
    }

    /// All objects that name `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(Arc<Kind>, Arc<Metadata>)> {
        let kinds = self.kinds();
        let tracked = kinds.iter().filter_map(|tracked| Some((&tracked.kind, tracked.objects.as_ref()?)));
        tracked.flat_map(|(kind, objects)| objects.by_owner.get(uid).into_iter().map(|o| (kind.clone(), o))).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Arc<str>, Tracked>> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows all kinds until the drain.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener, shutdown: Shutdown) -> Result<(), Infallible> {
        let _draining = shutdown.or(self.follow(listener)).await;
        Ok(())
    }

    async fn follow(&self, listener: Listener) -> Infallible {
        let definitions = self.caches.metadata(&ApiResource::erase::<CustomResourceDefinition>(&()));
        let services = self.caches.metadata(&ApiResource::erase::<APIService>(&()));
        let (mut defined, mut aggregated) = (definitions.subscribe(), services.subscribe());
        let mut gone = BTreeSet::new();
        let mut pumps: FuturesUnordered<BoxFuture<'_, Infallible>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                added = self.look(&definitions, &gone) => {
                    let caches = added.iter().filter_map(|tracked| Some(tracked.objects.as_ref()?.cache.clone()));
                    pumps.push(Box::pin(self.announce(caches.collect())));
                    for (kind, changes) in added.into_iter().filter_map(subscription) {
                        pumps.push(Box::pin(pump(kind, changes, &listener)));
                    }
                }
                change = defined.next() => {
                    for change in std::iter::once(change).chain(std::iter::from_fn(|| defined.ready())) {
                        match change.new {
                            Some(_) => gone.remove(change.key.name()),
                            None => gone.insert(change.key.name().to_owned()),
                        };
                    }
                }
                _ = aggregated.next() => while aggregated.ready().is_some() {},
                Some(_) = pumps.next() => {}
            }
        }
    }

    /// Looks until there are new kinds. The server serves a definition's kind a moment after the definition: as long as the
    /// two do not agree, it is asked again, but not for ever, since a wrong definition is never served.
    async fn look(&self, definitions: &Cache<Metadata>, gone: &BTreeSet<String>) -> Vec<Tracked> {
        let mut backoff = Backoff::new(Duration::from_millis(100), LAST_LOOK);
        loop {
            let added = self.refresh().await;
            let answered = added.is_some();
            if let Some(added) = added.filter(|added| !added.is_empty()) {
                return added;
            }
            if answered && (self.agrees(definitions, gone) || backoff.peek() >= LAST_LOOK) {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    /// A definition's name is the qualified plural of its kind.
    fn agrees(&self, definitions: &Cache<Metadata>, gone: &BTreeSet<String>) -> bool {
        let kinds = self.read();
        let served = |name: &str| kinds.contains_key(name);
        definitions.list().iter().all(|definition| served(definition.key.name()))
            && !gone.iter().any(|name| served(name))
    }

    /// Asks which kinds there are, forgets what is gone and says what is new; `None` when the server cannot say.
    async fn refresh(&self) -> Option<Vec<Tracked>> {
        let served = match discovery::kinds(&self.client).await {
            Ok(served) => served,
            Err(error) => {
                tracing::warn!(%error, "the kinds of the cluster cannot be discovered now");
                return None;
            }
        };
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        kinds.retain(|resource, tracked| {
            // One whose version is served no more comes back as a new one: nothing of the old can be watched or deleted.
            let stays = served.get(resource) == Some(&*tracked.kind);
            if !stays {
                self.caches.forget_metadata(&tracked.kind.api);
            }
            stays
        });
        let mut added = Vec::new();
        for (resource, kind) in served {
            kinds.entry(resource).or_insert_with(|| {
                let objects = kind.is_tracked().then(|| Objects::new(self.caches.metadata(&kind.api)));
                let tracked = Tracked { kind: Arc::new(kind), objects };
                added.push(tracked.clone());
                tracked
            });
        }
        Some(added)
    }

    /// Says that the inventory is complete once the objects of these kinds are known: the first that are found are those of
    /// the start.
    async fn announce(&self, first: Vec<Cache<Metadata>>) -> Infallible {
        join_all(first.iter().map(Cache::synced)).await;
        self.complete.send_replace(true);
        std::future::pending().await
    }
}

fn subscription(tracked: Tracked) -> Option<(Arc<Kind>, Changes<Metadata>)> {
    Some((tracked.kind, tracked.objects?.cache.subscribe()))
}

async fn pump(kind: Arc<Kind>, mut changes: Changes<Metadata>, listener: &Listener) -> Infallible {
    loop {
        listener(&kind, &changes.next().await);
    }
}

/// The API of a kind, in a namespace where it has them.
pub(crate) fn api(client: &Client, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
    match kind.namespaced {
        true => Api::namespaced_with(client.clone(), namespace, &kind.api),
        false => Api::all_with(client.clone(), &kind.api),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use axum::{Json, Router};
    use knarr_api::user::UserInfo;
    use knarr_client::transport::in_process;
    use serde_json::{Value, json};
    use std::sync::Mutex;

    /// A server of one kind, in the version that it is told to serve.
    fn server(version: &Arc<Mutex<&'static str>>) -> Router {
        let page = |of: fn(&str) -> Value| {
            let version = version.clone();
            get(move || std::future::ready(Json(of(*version.lock().unwrap()))))
        };
        let groups = |version: &str| {
            let served = json!({"groupVersion": format!("example.io/{version}"), "version": version});
            json!({"groups": [{"name": "example.io", "versions": [served], "preferredVersion": served}]})
        };
        let ships = |version: &str| {
            let verbs = ["delete", "list", "watch"];
            let ships =
                json!({"name": "ships", "singularName": "", "kind": "Ship", "namespaced": true, "verbs": verbs});
            json!({"groupVersion": format!("example.io/{version}"), "resources": [ships]})
        };
        Router::new()
            .route("/api/v1", page(|_| json!({"groupVersion": "v1", "resources": []})))
            .route("/apis", page(groups))
            .route("/apis/example.io/{version}", page(ships))
    }

    #[tokio::test]
    async fn a_kind_is_followed_in_the_version_that_is_served() {
        let version = Arc::new(Mutex::new("v1alpha1"));
        let client = in_process(server(&version), UserInfo::new("system:kube-controller-manager", &[]));
        let inventory = Inventory::new(Caches::new(client.clone()).0, client);
        let versions = |kinds: &[Tracked]| kinds.iter().map(|t| t.kind.api.version.clone()).collect::<Vec<_>>();
        assert_eq!(versions(&inventory.refresh().await.unwrap()), ["v1alpha1"]);
        assert_eq!(versions(&inventory.refresh().await.unwrap()), [""; 0], "nothing is new");
        *version.lock().unwrap() = "v1";
        assert_eq!(versions(&inventory.refresh().await.unwrap()), ["v1"]);
        assert_eq!(versions(&inventory.kinds()), ["v1"]);
    }
}
