//! Keeps the authorizer's picture of the cluster up to date.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_base::readiness::{Pending, Readiness};
use knarr_base::{Shutdown, backoff::Backoff};

use super::ClusterAuthorizer;
use super::rbac::GROUP;
use crate::cache::{Cache, ChangeType, Notice, Selection, Start, Stored};
use crate::registry::Registry;

/// Group and resource of everything that decisions depend on.
const SOURCES: [(&str, &str); 8] = [
    (GROUP, "clusterroles"),
    (GROUP, "clusterrolebindings"),
    (GROUP, "roles"),
    (GROUP, "rolebindings"),
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceslices"),
];

/// Follows the kinds that decisions depend on.
#[derive(Debug)]
pub struct AuthorizerFeed {
    authorizer: Arc<ClusterAuthorizer>,
    sources: Vec<(Arc<Cache>, Pending)>,
}

impl ClusterAuthorizer {
    /// What keeps this authorizer up to date. `readiness` waits until it has seen everything that exists: requests that are
    /// authorized before may be refused wrongly.
    #[must_use]
    pub fn feed(self: &Arc<Self>, registry: &Registry, readiness: &Readiness) -> AuthorizerFeed {
        let source = |(group, plural): (&str, &str)| {
            Some((registry.cache(group, plural)?, readiness.task(format!("authorizer: {plural}"))))
        };
        AuthorizerFeed { authorizer: Arc::clone(self), sources: SOURCES.into_iter().filter_map(source).collect() }
    }

    fn changed(&self, kind: &str, (namespace, name): &(String, String), object: Option<&Object>) {
        match kind {
            "clusterroles" | "roles" => self.rbac.role_changed(namespace, name, object),
            "clusterrolebindings" | "rolebindings" => self.rbac.binding_changed(namespace, name, object),
            _ => self.node.changed(kind, namespace, name, object),
        }
    }
}

impl AuthorizerFeed {
    /// Runs until the drain starts.
    ///
    /// # Errors
    /// Never.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let authorizer = &self.authorizer;
        let follow = self.sources.into_iter().map(|(cache, pending)| follow(authorizer, cache, pending));
        shutdown.or(futures::future::join_all(follow)).await;
        Ok(())
    }
}

/// Follows one kind for ever. A watch that ends, because it fell behind, is followed by another from the start; what
/// vanished in between is forgotten then.
async fn follow(authorizer: &ClusterAuthorizer, cache: Arc<Cache>, pending: Pending) {
    let mut pending = Some(pending);
    let mut known = HashSet::new();
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(5));
    loop {
        match watch(authorizer, &cache, &mut known, &mut pending).await {
            Ok(()) => backoff.reset(),
            Err(status) => tracing::warn!(resource = %cache.kind().plural, "the authorizer cannot follow: {status}"),
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

type Known = HashSet<(String, String)>;

async fn watch(
    authorizer: &ClusterAuthorizer,
    cache: &Arc<Cache>,
    known: &mut Known,
    pending: &mut Option<Pending>,
) -> Result<()> {
    let kind = Arc::clone(cache.kind());
    let read = |stored: &Stored| stored.object(&kind).map(|object| (key(&object), object));
    let mut watcher = cache.watch(Arc::new(Selection::all(&kind, "")), Start::Now).await?;
    let mut present = Known::new();
    while let Some(notice) = watcher.next().await {
        match notice? {
            Notice::Existing(item) => {
                let (key, object) = read(&item.stored)?;
                authorizer.changed(&kind.plural, &key, Some(&object));
                present.insert(key);
            }
            Notice::Synced(_) => {
                known.difference(&present).for_each(|gone| authorizer.changed(&kind.plural, gone, None));
                *known = std::mem::take(&mut present);
                drop(pending.take());
            }
            Notice::Change(change, event) => {
                let Some(stored) = event.object(change) else { continue };
                let (key, object) = read(&stored)?;
                let now = (change != ChangeType::Deleted).then_some(&object);
                authorizer.changed(&kind.plural, &key, now);
                if now.is_some() {
                    known.insert(key)
                } else {
                    known.remove(&key)
                };
            }
        }
    }
    Ok(())
}

fn key(object: &Object) -> (String, String) {
    (object.namespace().to_owned(), object.name().to_owned())
}
