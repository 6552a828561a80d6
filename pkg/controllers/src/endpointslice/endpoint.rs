//! Which pods are endpoints of a Service, and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods;

const ZONE: &str = "topology.kubernetes.io/zone";

/// The families of a Service, as address types.
pub(crate) fn address_types(service: &Service) -> Vec<&'static str> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    let named = ["IPv4", "IPv6"].into_iter().filter(|family| families.iter().any(|own| own == family));
    let named: Vec<_> = named.collect();
    if named.is_empty() { vec!["IPv4"] } else { named }
}

/// The pod's address of a family.
pub(crate) fn address<'a>(pod: &'a Pod, address_type: &str) -> Option<&'a str> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    // The first of `podIPs` is `podIP`; an old writer sets the latter only.
    let mut all = all.chain(status.pod_ip.as_deref());
    all.find(|ip| !ip.is_empty() && ip.contains(':') == (address_type == "IPv6"))
}

/// Whether the pod is, was lately or will be an endpoint: terminating pods are, ended ones are not.
pub(crate) fn is_candidate(pod: &Pod) -> bool {
    !pods::is_terminal(pod)
}

/// Whether the pod's name is published in DNS below the Service.
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.as_ref().filter(|hostname| below && !hostname.is_empty())
}

/// The endpoint that a pod is.
pub(super) fn endpoint(pod: &Pod, service: &Service, node: Option<&Node>, address: &str) -> Endpoint {
    let spec = service.spec.as_ref();
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let published = spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let ready = published || serving && !terminating;
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE)).filter(|zone| !zone.is_empty());
    let node_name = Some(pods::node(pod).to_owned()).filter(|name| !name.is_empty());
    let distribution = spec.and_then(|spec| spec.traffic_distribution.as_deref()).filter(|_| ready);
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: hints(distribution, zone, node_name.as_ref()),
        hostname: hostname(pod, service).cloned(),
        node_name,
        target_ref: Some(reference(pod)),
        zone: zone.cloned(),
        deprecated_topology: None,
    }
}

/// Where traffic should come from (`spec.trafficDistribution`, KEP-4444 and KEP-3015).
fn hints(distribution: Option<&str>, zone: Option<&String>, node: Option<&String>) -> Option<EndpointHints> {
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.clone() }]);
    let hints = match distribution? {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones, for_nodes: None },
        "PreferSameNode" => {
            EndpointHints { for_zones, for_nodes: node.map(|node| vec![ForNode { name: node.clone() }]) }
        }
        _ => return None,
    };
    Some(hints).filter(|hints| hints.for_zones.is_some() || hints.for_nodes.is_some())
}

/// A reference to a pod as endpoints carry it.
pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The Service's ports on this pod; named target ports may differ between pods, and a pod that lacks one leaves it out.
pub(super) fn ports(pod: &Pod, service: &Service) -> Vec<EndpointPort> {
    let wanted = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    wanted
        .filter_map(|port| {
            Some(EndpointPort {
                // An unnamed port is the empty name here, as upstream writes it.
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target_port(pod, port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// The number of a target port on this pod.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(port.port),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // Sidecars, which are init containers that restart, may carry ports too.
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            let same = |port: &&k8s_openapi::api::core::v1::ContainerPort| {
                port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
            };
            ports.into_iter().find(same).map(|port| port.container_port)
        }
    }
}

/// Endpoints of one family, by the ports that they share.
pub(crate) type Groups = BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)>;

/// The endpoints of a Service. Pods whose node is not known yet wait for it: their zone would be wrong.
pub(super) fn groups(
    service: &Service,
    address_type: &str,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Groups {
    let mut groups = Groups::new();
    for pod in pods.iter().filter(|pod| is_candidate(pod)) {
        let Some(address) = address(pod, address_type) else { continue };
        let own = node(pods::node(pod));
        let waits = !pods::node(pod).is_empty() && own.is_none();
        if waits && service.spec.as_ref().is_none_or(|spec| spec.publish_not_ready_addresses != Some(true)) {
            continue;
        }
        let mut ports = ports(pod, service);
        ports.sort_by(|left, right| left.name.cmp(&right.name));
        let (_, endpoints) = groups.entry(port_key(&ports)).or_insert_with(|| (ports, Vec::new()));
        endpoints.push(endpoint(pod, service, own.as_deref(), address));
    }
    groups
}

/// Equal for equal lists of ports in any order.
pub(crate) fn port_key(ports: &[EndpointPort]) -> String {
    let part = |port: &EndpointPort| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = port.port.unwrap_or_default();
        format!("{}/{}/{number}/{}", text(&port.name), text(&port.protocol), text(&port.app_protocol))
    };
    let mut parts: Vec<_> = ports.iter().map(part).collect();
    parts.sort();
    parts.join(",")
}
