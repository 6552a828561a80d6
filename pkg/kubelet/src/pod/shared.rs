//! What all pods of the node share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use knarr_api::quantity::Quantity;
use knarr_client::{Cache, Recorder};

use super::config::{Capacity, Resolver};
use crate::cgroup::Cgroups;
use crate::cri::Runtime;
use crate::image::pull::Puller;
use crate::objects::Objects;

/// The node as its pods see it.
pub(crate) struct Shared {
    pub(crate) node_name: String,
    /// The primary first.
    pub(crate) host_ips: Vec<String>,
    /// Below which each pod has its directory.
    pub(crate) pods: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) resolver: Resolver,
    /// Where the node's own resolvers stand.
    pub(crate) resolv_conf: PathBuf,
    /// Bytes that the node has.
    pub(crate) memory: i64,
    /// Processes and threads that a pod may have.
    pub(crate) pids: Option<i64>,
    pub(crate) cgroups: Cgroups,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) client: kube::Client,
    pub(crate) recorder: Recorder,
    pub(crate) puller: Puller,
    pub(crate) services: Cache<Service>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) config_maps: Objects<ConfigMap>,
    pub(crate) secrets: Objects<Secret>,
    pub(crate) owners: Owners,
}

impl Shared {
    /// What pods may use of the node.
    pub(crate) fn allocatable(&self) -> BTreeMap<String, Quantity> {
        let node = self.nodes.get("", &self.node_name);
        let listed = node.as_ref().and_then(|node| node.status.as_ref()).and_then(|status| status.allocatable.as_ref());
        listed.into_iter().flatten().filter_map(|(name, amount)| Some((name.clone(), amount.0.parse().ok()?))).collect()
    }

    /// What containers are measured by.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity { memory: self.memory, unified: self.cgroups.unified(), swap: self.cgroups.limits_swap() }
    }

    /// The Services whose variables a pod of this namespace may see.
    pub(crate) fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        let mut services = self.services.in_namespace(namespace);
        if namespace != "default" {
            services.extend(self.services.get("default", "kubernetes"));
        }
        services
    }
}

/// Which pod a sandbox or container belongs to: containerd's events name only the container.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<HashMap<String, String>>);

impl Owners {
    pub(crate) fn add(&self, id: &str, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), uid.to_owned());
    }

    /// Exactly these belong to the pod.
    pub(crate) fn set<'a>(&self, ids: impl Iterator<Item = &'a String>, uid: &str) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|_, owner| owner != uid);
        owners.extend(ids.map(|id| (id.clone(), uid.to_owned())));
    }

    pub(crate) fn of(&self, id: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, owner| owner != uid);
    }
}
