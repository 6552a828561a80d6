//! Whether a pod may run on a node. One function per upstream plugin, with upstream's reasons.

use std::borrow::Cow;

use crate::cluster::NodeInfo;
use crate::pod::{CPU, PODS, PodInfo};
use crate::{node_selector, taint};

/// Why a node is refused, as it appears in the condition and the event.
pub(crate) type Reason = Cow<'static, str>;

/// Why a node is not for a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reasons: Vec<Reason>,
    /// Not even an empty node would do (upstream's `UnschedulableAndUnresolvable`).
    pub(crate) is_hopeless: bool,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str) -> Self {
        Self { reasons: vec![reason.into()], is_hopeless: false }
    }

    pub(crate) fn hopeless(reason: &'static str) -> Self {
        Self { reasons: vec![reason.into()], is_hopeless: true }
    }
}

/// A filter refuses, or it does not.
type Filter = fn(&PodInfo, &NodeInfo) -> Option<Refusal>;

/// In upstream's order; the first that refuses decides.
const FILTERS: &[Filter] = &[node_unschedulable, node_name, taint_toleration, node_affinity, node_ports, resources_fit];

/// What the first filter that refuses says.
pub(crate) fn refusal(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    FILTERS.iter().find_map(|filter| filter(pod, node))
}

fn node_unschedulable(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let unschedulable = node.node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let cordon = k8s_openapi::api::core::v1::Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    let refused = unschedulable && !taint::tolerated(tolerations, &cordon);
    refused.then(|| Refusal::hopeless("node(s) were unschedulable"))
}

fn node_name(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let wanted = pod.spec().node_name.as_deref().unwrap_or_default();
    let refused = !wanted.is_empty() && wanted != node.name();
    refused.then(|| Refusal::hopeless("node(s) didn't match the requested node name"))
}

fn taint_toleration(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    let mut hard = node.taints().iter().filter(|taint| taint::is_hard(taint));
    let refused = hard.any(|taint| !taint::tolerated(tolerations, taint));
    refused.then(|| Refusal::hopeless("node(s) had untolerated taint(s)"))
}

fn node_affinity(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let refused = !node_selector::allows(pod.spec(), node);
    refused.then(|| Refusal::hopeless("node(s) didn't match Pod's node affinity/selector"))
}

/// A port is taken when it is used on the same address, or when one of the two uses it on all addresses.
fn node_ports(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let all = |address: &str| matches!(address, "0.0.0.0" | "::");
    let taken = pod.host_ports.iter().any(|(address, protocol, port)| {
        let users = node.host_ports.get(&(protocol.clone(), *port));
        users.is_some_and(|users| users.keys().any(|used| used == address || all(used) || all(address)))
    });
    taken.then(|| Refusal::new("node(s) didn't have free ports for the requested pod ports"))
}

fn resources_fit(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let mut refusal = Refusal::default();
    let reasons = &mut refusal.reasons;
    if i64::try_from(node.pods).unwrap_or(i64::MAX) >= node.allocatable.get(PODS) {
        reasons.push("Too many pods".into());
    }
    for (name, wanted) in pod.requests.iter().filter(|(_, wanted)| *wanted > 0) {
        if wanted > node.allocatable.get(name).saturating_sub(node.requested.get(name)) {
            reasons.push(format!("Insufficient {name}").into());
            refusal.is_hopeless |= wanted > node.allocatable.get(name);
        }
    }
    // cpu before memory before the rest, as upstream lists them.
    reasons.sort_by_key(|reason| !reason.ends_with(CPU));
    (!reasons.is_empty()).then_some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, info, node};
    use serde_json::{Value, json};

    fn check(node_spec: Value, pod_spec: Value, expect: &[&str]) {
        let mut cluster = cluster(vec![node("a", json!({}), node_spec)]);
        let busy = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}],
            "resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}]});
        cluster.place(info("busy", busy), "a");
        let refusal = refusal(&info("p", pod_spec.clone()), cluster.node("a").unwrap()).unwrap_or_default();
        assert_eq!(refusal.reasons, expect, "{pod_spec}");
    }

    #[test]
    fn reasons_are_upstreams() {
        let wants = |requests: Value| json!({"containers": [{"name": "c", "resources": {"requests": requests}}]});
        let port = |ip: &str, port: u16| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": port, "hostIP": ip}]}]});
        let tainted =
            json!({"taints": [{"key": "k", "effect": "NoSchedule"}, {"key": "s", "effect": "PreferNoSchedule"}]});
        check(json!({}), wants(json!({"cpu": "1"})), &[]);
        check(json!({}), wants(json!({"cpu": "1001m"})), &["Insufficient cpu"]);
        check(json!({}), wants(json!({"cpu": "2", "memory": "9Gi"})), &["Insufficient cpu", "Insufficient memory"]);
        check(json!({}), wants(json!({"example.com/gpu": "1"})), &["Insufficient example.com/gpu"]);
        check(json!({}), port("10.0.0.1", 80), &["node(s) didn't have free ports for the requested pod ports"]);
        check(json!({}), port("", 80), &["node(s) didn't have free ports for the requested pod ports"]);
        check(json!({}), port("10.0.0.2", 80), &[]);
        check(tainted.clone(), wants(json!({})), &["node(s) had untolerated taint(s)"]);
        check(tainted, json!({"containers": [], "tolerations": [{"key": "k", "operator": "Exists"}]}), &[]);
        check(json!({"unschedulable": true}), wants(json!({})), &["node(s) were unschedulable"]);
        check(
            json!({}),
            json!({"containers": [], "nodeSelector": {"x": "y"}}),
            &["node(s) didn't match Pod's node affinity/selector"],
        );
        check(json!({}), json!({"containers": [], "nodeName": "b"}), &["node(s) didn't match the requested node name"]);
    }

    #[test]
    fn a_node_takes_only_so_many_pods() {
        let mut cluster = cluster(vec![node("a", json!({}), json!({}))]);
        for number in 0..10 {
            let pod = info(&format!("p{number}"), json!({"containers": []}));
            assert_eq!(refusal(&pod, cluster.node("a").unwrap()), None);
            cluster.place(pod, "a");
        }
        let refusal = refusal(&info("more", json!({"containers": []})), cluster.node("a").unwrap());
        assert_eq!(refusal.unwrap(), Refusal::new("Too many pods"));
    }
}
