//! What all controllers share.

use std::sync::Arc;

use knarr_client::events::{Recorder, Sink};
use knarr_client::{Cache, Caches};
use kube::Client;
use serde::de::DeserializeOwned;

/// Gives a client that acts as the named service account of `kube-system`.
pub type ClientOf = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What the controllers are made of. Cloning is cheap.
#[derive(Clone)]
pub struct Deps {
    /// Reads of the whole control plane (`system:kube-controller-manager`).
    pub caches: Caches,
    /// Writes, each under its controller's identity.
    pub client: ClientOf,
    /// Where events go.
    pub events: Sink,
    /// The cluster's constants.
    pub settings: Arc<Settings>,
}

/// The cluster's constants.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What pods trust the API server by: PEM, published as `kube-root-ca.crt` in every namespace.
    pub root_ca: String,
    /// Pod address ranges, at most one per family, for example `10.42.0.0/16` (`--cluster-cidr`).
    pub cluster_cidrs: Vec<String>,
}

impl Deps {
    /// A client that acts as `name`.
    pub(crate) fn client(&self, name: &str) -> Client {
        (self.client)(name)
    }

    /// Records events as `name`.
    pub(crate) fn recorder(&self, name: &str) -> Recorder {
        self.events.recorder(self.client(name), name, "")
    }

    /// The shared cache of a kind.
    pub(crate) fn cache<K>(&self) -> Cache<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        self.caches.of()
    }
}
