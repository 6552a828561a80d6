//! Shared caches: what the API server holds, as this process sees it, fed by one watch per kind.
//!
//! A watch starts as a streaming list (KEP-3157), goes on from its last revision after an interruption, and starts over
//! only when the server has compacted that revision (410).

mod cached;
mod changes;
mod key;
mod reflector;
mod shared;

pub use cached::{Cached, Metadata};
pub use changes::{Change, Changes};
pub use key::Key;
pub use shared::{Behind, Cache, Index};

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use knarr_base::Shutdown;
use kube::core::ApiResource;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use reflector::Reflector;

/// The caches by the type of their objects and the target of their watch; each is a `Cache` of that type.
type Started = HashMap<(TypeId, String), Box<dyn Any + Send + Sync>>;

/// The caches of one identity. Cloning is cheap; all clones share.
#[derive(Clone)]
pub struct Caches {
    client: kube::Client,
    started: Arc<Mutex<Started>>,
    watches: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
}

/// Which objects of a kind a cache holds; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this namespace; empty means all.
    pub namespace: String,
    /// A field selector, for example `spec.nodeName=edge-1`.
    pub fields: String,
    /// A label selector.
    pub labels: String,
}

impl Selection {
    /// The objects that a field selector names.
    #[must_use]
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { fields: selector.into(), ..Self::default() }
    }

    /// The objects of one namespace.
    #[must_use]
    pub fn namespace(name: impl Into<String>) -> Self {
        Self { namespace: name.into(), ..Self::default() }
    }
}

impl Caches {
    /// Caches that read as the identity of `client`, and the component that keeps them current: they stay empty until it
    /// runs.
    #[must_use]
    pub fn new(client: kube::Client) -> (Self, Watches) {
        let (watches, incoming) = mpsc::unbounded_channel();
        (Self { client, started: Arc::default(), watches }, Watches { incoming })
    }

    /// All objects of a kind. The first user starts its watch.
    #[must_use]
    pub fn of<K>(&self) -> Cache<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        self.select(&Selection::default())
    }

    /// Some objects of a kind. Users of the same selection share its watch.
    #[must_use]
    pub fn select<K>(&self, selection: &Selection) -> Cache<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        let namespace = Some(selection.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        self.start(reflector::target(&K::url_path(&(), namespace), selection))
    }

    /// Ownership metadata of all objects of a kind that is known only at run time.
    #[must_use]
    pub fn metadata(&self, kind: &ApiResource) -> Cache<Metadata> {
        self.start(metadata_target(kind))
    }

    /// Ends the watch of [`Caches::metadata`] once its last user has dropped it: the kind is served no more.
    pub fn forget_metadata(&self, kind: &ApiResource) {
        let slot = (TypeId::of::<Metadata>(), metadata_target(kind));
        self.started.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    fn start<T: Cached>(&self, target: String) -> Cache<T> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (TypeId::of::<T>(), target.clone());
        if let Some(cache) = started.get(&slot).and_then(|cache| cache.downcast_ref::<Cache<T>>()) {
            return cache.clone();
        }
        let stop = CancellationToken::new();
        let cache = Cache::new(Some(stop.clone().drop_guard()));
        let reflector = Reflector::new(self.client.clone(), target, &cache);
        let watch = async move {
            // `None` means that nobody uses the cache any more.
            let _stopped = stop.run_until_cancelled(reflector.run()).await;
        };
        // Sending fails only when `Watches` has ended, in the drain: the cache then stays as it is.
        let _draining = self.watches.send(Box::pin(watch));
        started.insert(slot, Box::new(cache.clone()));
        cache
    }
}

fn metadata_target(kind: &ApiResource) -> String {
    let path = <kube::core::DynamicObject as kube::Resource>::url_path(kind, None);
    reflector::target(&path, &Selection::default())
}

/// Runs the watches of a [`Caches`].
pub struct Watches {
    incoming: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
}

impl Watches {
    /// Runs all watches, those that start later too, until the drain.
    ///
    /// # Errors
    /// Never; a watch mends itself.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.wait() => return Ok(()),
                Some(watch) = self.incoming.recv() => {
                    running.spawn(watch);
                }
                Some(Err(error)) = running.join_next(), if !running.is_empty() => {
                    if error.is_panic() {
                        resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
