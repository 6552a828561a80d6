//! The scheduler's picture of the cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Taint};
use knarr_client::cache::Key;

use crate::pod::{PodInfo, Resources};
use crate::relation::Relations;

/// A node and what is on it.
#[derive(Debug)]
pub(crate) struct NodeInfo {
    pub(crate) node: Arc<Node>,
    pub(crate) allocatable: Resources,
    /// The sum of the requests of the pods.
    pub(crate) requested: Resources,
    /// The sum of their weights, for ranking.
    pub(crate) weight: Resources,
    /// How many pods use a host port: protocol and port, then address.
    pub(crate) host_ports: HashMap<(String, i32), BTreeMap<String, usize>>,
    /// How many pods of one controlling owner are here.
    pub(crate) owners: HashMap<String, usize>,
    pub(crate) pods: usize,
}

impl NodeInfo {
    fn new(node: Arc<Node>) -> Self {
        Self {
            allocatable: allocatable(&node),
            node,
            requested: Resources::default(),
            weight: Resources::default(),
            host_ports: HashMap::new(),
            owners: HashMap::new(),
            pods: 0,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        self.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    fn add(&mut self, pod: &PodInfo) {
        self.pods += 1;
        self.requested.add(&pod.requests);
        self.weight.add(&pod.weight);
        for (address, protocol, port) in &pod.host_ports {
            let users = self.host_ports.entry((protocol.clone(), *port)).or_default();
            *users.entry(address.clone()).or_default() += 1;
        }
        if let Some(owner) = &pod.owner {
            *self.owners.entry(owner.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, pod: &PodInfo) {
        self.pods = self.pods.saturating_sub(1);
        self.requested.subtract(&pod.requests);
        self.weight.subtract(&pod.weight);
        for (address, protocol, port) in &pod.host_ports {
            let slot = (protocol.clone(), *port);
            if let Some(users) = self.host_ports.get_mut(&slot) {
                decrement(users.get_mut(address));
                users.retain(|_, count| *count > 0);
            }
            self.host_ports.retain(|_, users| !users.is_empty());
        }
        if let Some(owner) = &pod.owner {
            decrement(self.owners.get_mut(owner));
            self.owners.retain(|_, count| *count > 0);
        }
    }
}

fn decrement(count: Option<&mut usize>) {
    if let Some(count) = count {
        *count = count.saturating_sub(1);
    }
}

fn allocatable(node: &Node) -> Resources {
    let status = node.status.as_ref();
    let list = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
    list.map(Resources::parse).unwrap_or_default()
}

/// All nodes, and where every pod that has one is: bound ones, and those that this scheduler has decided about but whose
/// binding the cache has not shown yet.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    nodes: Vec<NodeInfo>,
    positions: HashMap<String, usize>,
    placed: HashMap<Key, (String, PodInfo)>,
    /// Those of them that have affinity terms: they matter to every pod that comes later.
    related: HashSet<Key>,
    namespaces: HashMap<String, Arc<Namespace>>,
}

impl Cluster {
    /// The nodes, in an order that only changes when one comes or goes.
    pub(crate) fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    #[cfg(test)]
    pub(crate) fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(*self.positions.get(name)?)
    }

    /// A node came or changed. Pods that were already known to be on it are counted.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(info) = self.positions.get(&name).and_then(|&position| self.nodes.get_mut(position)) {
            info.allocatable = allocatable(&node);
            info.node = node;
            return;
        }
        let mut info = NodeInfo::new(node);
        for (_, pod) in self.placed.values().filter(|(at, _)| *at == name) {
            info.add(pod);
        }
        self.positions.insert(name, self.nodes.len());
        self.nodes.push(info);
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(position) = self.positions.remove(name) else { return };
        self.nodes.swap_remove(position);
        if let Some(moved) = self.nodes.get(position) {
            self.positions.insert(moved.name().to_owned(), position);
        }
    }

    /// The pod is on that node now, wherever it was before.
    pub(crate) fn place(&mut self, pod: PodInfo, node: &str) {
        self.displace(&pod.key);
        if let Some(info) = self.node_mut(node) {
            info.add(&pod);
        }
        if pod.relations.as_ref().is_some_and(|relations| relations.has_terms()) {
            self.related.insert(pod.key.clone());
        }
        self.placed.insert(pod.key.clone(), (node.to_owned(), pod));
    }

    /// The pod is on no node any more. Answers whether it was on one.
    pub(crate) fn displace(&mut self, key: &Key) -> bool {
        let Some((node, pod)) = self.placed.remove(key) else { return false };
        self.related.remove(key);
        if let Some(info) = self.node_mut(&node) {
            info.remove(&pod);
        }
        true
    }

    /// Whether the pod, as that incarnation, is on a node.
    pub(crate) fn is_placed(&self, key: &Key, uid: &str) -> bool {
        self.placed.get(key).is_some_and(|(_, pod)| pod.uid() == uid)
    }

    /// The pods that have a node that is known.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&NodeInfo, &PodInfo)> {
        self.placed.values().filter_map(|(node, pod)| Some((self.nodes.get(*self.positions.get(node)?)?, pod)))
    }

    /// Those of them that have affinity terms.
    pub(crate) fn related(&self) -> impl Iterator<Item = (&NodeInfo, &Relations)> {
        let placed = self.related.iter().filter_map(|key| self.placed.get(key));
        placed.filter_map(|(node, pod)| Some((self.nodes.get(*self.positions.get(node)?)?, pod.relations.as_deref()?)))
    }

    /// A namespace came, changed or, without `now`, went.
    pub(crate) fn set_namespace(&mut self, name: &str, now: Option<Arc<Namespace>>) {
        match now {
            Some(namespace) => drop(self.namespaces.insert(name.to_owned(), namespace)),
            None => drop(self.namespaces.remove(name)),
        }
    }

    pub(crate) fn namespace_label(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn node_mut(&mut self, name: &str) -> Option<&mut NodeInfo> {
        self.nodes.get_mut(*self.positions.get(name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, info, node};
    use crate::pod::CPU;
    use serde_json::json;

    #[test]
    fn what_is_placed_is_counted_whatever_comes_first() {
        let mut cluster = cluster(vec![node("a", json!({}), json!({}))]);
        let spec = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}],
            "resources": {"requests": {"cpu": "1"}}}]});
        cluster.place(info("one", spec.clone()), "a");
        cluster.place(info("early", spec.clone()), "b");
        cluster.set_node(Arc::new(node("b", json!({}), json!({}))));
        assert_eq!(cluster.node("b").unwrap().requested.get(CPU), 1000);

        // The same pod twice is one pod; a move takes it along.
        cluster.place(info("one", spec.clone()), "a");
        assert_eq!((cluster.node("a").unwrap().pods, cluster.node("a").unwrap().requested.get(CPU)), (1, 1000));
        cluster.place(info("one", spec), "b");
        assert_eq!((cluster.node("a").unwrap().pods, cluster.node("b").unwrap().pods), (0, 2));
        assert!(cluster.node("a").unwrap().host_ports.is_empty());

        cluster.remove_node("a");
        assert!(cluster.displace(&Key::new("default", "one")));
        assert!(!cluster.displace(&Key::new("default", "one")));
        assert_eq!(cluster.node("b").unwrap().requested.get(CPU), 1000);
    }
}
