//! Namespaces, priority classes, and how the cluster reaches its own API server and DNS.

use std::net::IpAddr;

use knarr_api::Object;
use knarr_api::object::{Meta, object_in};
use knarr_pki::ClusterPki;
use serde_json::{Value, json};

use super::Settings;
use super::item::{Change, Item};

const NAMESPACES: [&str; 5] = ["default", "kube-system", "kube-public", "kube-node-lease", "metallb-system"];

/// Name, value, description.
const PRIORITY_CLASSES: [(&str, u32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Namespaces and priority classes.
pub(super) fn fixed() -> impl Iterator<Item = Item> {
    let namespaces = NAMESPACES
        .iter()
        .map(|name| Item::once(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})));
    let classes = PRIORITY_CLASSES.iter().map(|(name, value, description)| {
        Item::once(json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority",
        }))
    });
    namespaces.chain(classes)
}

/// The range of service addresses.
pub(super) fn service_range(settings: &Settings) -> Item {
    let now = crate::registry::metadata::now();
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": settings.service_ranges},
    });
    Item::once(range).with_status(json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
        "message": "Kubernetes default Service CIDR is ready",
    }]}))
}

/// The Service `kubernetes` and its endpoints: this very server.
pub(super) fn api_server(settings: &Settings) -> [Item; 3] {
    let port = json!({"name": "https", "protocol": "TCP", "port": settings.port});
    let ready = json!({"ready": true});
    let family = if settings.advertise.is_ipv6() { "IPv6" } else { "IPv4" };
    [
        Item::once(service(
            ("default", "kubernetes"),
            &json!({"component": "apiserver", "provider": "kubernetes"}),
            &settings.service_address,
            &json!([{"name": "https", "protocol": "TCP", "port": 443, "targetPort": settings.port}]),
        )),
        Item::kept(
            json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {
                    "name": "kubernetes", "namespace": "default",
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
                },
                "subsets": [{"addresses": [{"ip": settings.advertise}], "ports": [port]}],
            }),
            |existing, expected| keep(existing, expected, &["subsets"]),
        ),
        Item::kept(
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": "kubernetes", "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "kubernetes"},
                },
                "addressType": family,
                "endpoints": [{"addresses": [settings.advertise], "conditions": ready}],
                "ports": [port],
            }),
            |existing, expected| {
                if existing.get("addressType") == expected.get("addressType") {
                    keep(existing, expected, &["endpoints", "ports"])
                } else {
                    Change::Recreate
                }
            },
        ),
    ]
}

/// The Service of cluster DNS, for those who look it up; its address is answered by the data plane itself.
pub(super) fn dns(address: &IpAddr) -> Item {
    let labels =
        json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let ports = json!([
        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
    ]);
    Item::once(service(("kube-system", "kube-dns"), &labels, address, &ports))
}

fn service((namespace, name): (&str, &str), labels: &Value, address: &IpAddr, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None", "ports": ports,
        },
    })
}

/// What extension API servers need to know whom this server has authenticated:
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>.
pub(super) fn authentication(pki: &ClusterPki) -> Item {
    let data = json!({
        "client-ca-file": pki.ca.certificate_pem(),
        "requestheader-client-ca-file": pki.front_proxy_ca.certificate_pem(),
        "requestheader-allowed-names": "[\"front-proxy-client\"]",
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
        "requestheader-username-headers": "[\"X-Remote-User\"]",
    });
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": data,
    });
    Item::kept(object, |existing, expected| {
        let mut updated = existing.clone();
        let data = object_in(updated.entry("data").or_insert(Value::Null));
        let ours = expected.get("data").and_then(Value::as_object);
        data.extend(ours.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        Change::to(existing, updated)
    })
}

/// Our fields as they shall be, and our labels beside those of others.
fn keep(existing: &Object, expected: &Object, fields: &[&str]) -> Change {
    let mut updated = existing.clone();
    for field in fields {
        if let Some(value) = expected.get(*field) {
            updated.insert((*field).into(), value.clone());
        }
    }
    let labels = object_in(updated.meta_mut().entry("labels").or_insert(Value::Null));
    let ours = expected.at(&["metadata", "labels"]).and_then(Value::as_object);
    labels.extend(ours.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    Change::to(existing, updated)
}
