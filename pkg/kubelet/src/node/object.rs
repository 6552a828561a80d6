//! The node as the API shows it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::facts::Facts;
use crate::config::Config;
use crate::cri::api;

/// At most so many images are listed, the largest first, with so many names each, as upstream.
const IMAGES: usize = 50;
const NAMES: usize = 5;
/// What stays free before pods are evicted: upstream's `memory.available<100Mi`.
const RESERVED_MEMORY: i64 = 100 << 20;

/// The labels that every node has; those of the configuration win.
pub(crate) fn labels(config: &Config) -> BTreeMap<String, String> {
    let architecture = crate::containerd::architecture();
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    labels.extend(config.labels.clone());
    labels
}

/// A node that is not in the API yet.
pub(crate) fn fresh(config: &Config, status: NodeStatus) -> Node {
    let mut node = Node {
        spec: Some(NodeSpec {
            taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status),
        ..Node::default()
    };
    node.metadata.name = Some(config.node_name.clone());
    node.metadata.labels = Some(labels(config));
    node
}

/// Everything of the status but the conditions.
pub(crate) fn status(config: &Config, facts: &Facts, images: &[api::Image]) -> NodeStatus {
    let capacity = resources(config, facts, 0);
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let mut addresses: Vec<NodeAddress> =
        config.node_ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    addresses.push(address("Hostname", config.hostname.clone()));
    let handlers = std::iter::once("").chain(["runc"]).chain(config.runtime_handlers.iter().map(String::as_str));
    let features = NodeRuntimeHandlerFeatures { recursive_read_only_mounts: Some(false), user_namespaces: Some(false) };
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(resources(config, facts, RESERVED_MEMORY)),
        capacity: Some(capacity),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
        }),
        images: Some(list(images)),
        node_info: Some(facts.info.clone()),
        runtime_handlers: Some(
            handlers
                .map(|name| NodeRuntimeHandler {
                    name: (!name.is_empty()).then(|| name.to_owned()),
                    features: Some(features.clone()),
                })
                .collect(),
        ),
        ..NodeStatus::default()
    }
}

fn resources(config: &Config, facts: &Facts, reserved: i64) -> BTreeMap<String, Quantity> {
    let huge: i64 = facts.huge_pages.values().sum();
    let memory = (facts.memory - if reserved > 0 { reserved + huge } else { 0 }).max(0);
    // Ten per cent of the disk are kept free (`nodefs.available<10%`).
    let disk = if reserved > 0 { facts.disk / 10 * 9 } else { facts.disk };
    let mut resources: BTreeMap<String, Quantity> = [
        ("cpu", facts.cpus.to_string()),
        ("memory", format!("{}Ki", memory / 1024)),
        ("ephemeral-storage", format!("{}Ki", disk / 1024)),
        ("pods", config.max_pods.to_string()),
    ]
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .into();
    for (name, bytes) in &facts.huge_pages {
        let canonical = bytes
            .to_string()
            .parse::<knarr_api::quantity::Quantity>()
            .map_or_else(|_| "0".into(), |amount| amount.to_string());
        resources.insert(name.clone(), Quantity(canonical));
    }
    resources
}

fn list(images: &[api::Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&api::Image> = images.iter().collect();
    images.sort_by_key(|image| (std::cmp::Reverse(image.size), image.id.clone()));
    images
        .into_iter()
        .take(IMAGES)
        .map(|image| ContainerImage {
            names: Some(image.repo_digests.iter().chain(&image.repo_tags).take(NAMES).cloned().collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeSystemInfo;

    #[test]
    fn allocatable_is_less_than_capacity() {
        let facts = Facts {
            cpus: 2,
            memory: 8 << 30,
            huge_pages: [("hugepages-2Mi".to_owned(), 0)].into(),
            disk: 100 << 30,
            info: NodeSystemInfo::default(),
        };
        let config = crate::config::tests::config(std::path::Path::new("/data"));
        let status = status(&config, &facts, &[]);
        let read = |map: Option<BTreeMap<String, Quantity>>, name: &str| map.unwrap().get(name).unwrap().0.clone();
        assert_eq!(read(status.capacity.clone(), "memory"), "8388608Ki");
        assert_eq!(read(status.allocatable.clone(), "memory"), "8286208Ki");
        assert_eq!(read(status.allocatable, "cpu"), "2");
        assert_eq!(read(status.capacity, "hugepages-2Mi"), "0");
        let addresses: Vec<String> =
            status.addresses.unwrap().into_iter().map(|one| format!("{} {}", one.type_, one.address)).collect();
        assert_eq!(addresses, ["InternalIP 192.0.2.1", "Hostname edge-1"]);
    }
}
