//! Pods and nodes for tests.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::pod::PodInfo;

pub(crate) fn pod(name: &str, spec: Value) -> Pod {
    let metadata = json!({"name": name, "namespace": "default", "uid": name});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

pub(crate) fn info(name: &str, spec: Value) -> PodInfo {
    PodInfo::new(Arc::new(pod(name, spec)))
}

/// A pod with labels, in some namespace.
pub(crate) fn labelled(namespace: &str, name: &str, labels: Value, spec: Value) -> PodInfo {
    let metadata = json!({"name": name, "namespace": namespace, "uid": name, "labels": labels});
    PodInfo::new(Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()))
}

/// A node of 4 cores, 8 GiB and 10 pods, with labels and a spec.
pub(crate) fn node(name: &str, labels: Value, spec: Value) -> Node {
    let mut all = json!({"kubernetes.io/hostname": name});
    all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    let allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "10"});
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": all}, "spec": spec, "status": {"allocatable": allocatable},
    }))
    .unwrap()
}

/// Nodes `a` and `b` in the zone `east`, `c` in the zone `west`, and `d` in none.
pub(crate) fn zones() -> Cluster {
    let zone = |name: &str, zone: &str| node(name, json!({"zone": zone}), json!({}));
    cluster(vec![zone("a", "east"), zone("b", "east"), zone("c", "west"), node("d", json!({}), json!({}))])
}

/// A cluster of these nodes.
pub(crate) fn cluster(nodes: Vec<Node>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.set_node(Arc::new(node));
    }
    cluster
}
