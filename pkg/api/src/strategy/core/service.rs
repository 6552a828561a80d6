//! Services. What is allocated (addresses, ports) and what follows from it is done where the allocation is.

use serde_json::{Value, json};

use super::service_check::{check_change, check_service, check_status};
use crate::Object;
use crate::object::Meta;
use crate::strategy::fill::Fill::{Drop, Each, Make, With, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::Row;
use crate::strategy::{Context, NameRule};
use crate::tree::{Tree, objects_mut, same};

/// Services.
pub(in crate::strategy) static SERVICE: Row = Row {
    fills: &[
        Make(
            "spec",
            &[
                Drop(&["publishNotReadyAddresses", "healthCheckNodePort", "externalIPs", "loadBalancerSourceRanges"]),
                Drop(&["selector", "clusterIPs", "clusterIP", "ipFamilies", "externalName", "loadBalancerIP", "ports"]),
                Drop(&["externalTrafficPolicy"]),
                Zero("sessionAffinity", Text("None")),
                Zero("type", Text("ClusterIP")),
                With(affinity),
                Each(&["ports"], &[Drop(&["nodePort", "name"]), Zero("protocol", Text("TCP")), With(target_port)]),
                With(policies),
            ],
        ),
        Make("status", &[Make("loadBalancer", &[])]),
        With(ip_mode),
    ],
    name: NameRule::Label1035,
    create_on_update: true,
    prepare_update,
    check: |_, errors, service| check_service(errors, service),
    check_update: |_, errors, new, old| check_change(errors, new, old),
    check_status: |errors, new, _| check_status(errors, new),
    warn: |service, _| warnings(service),
    ..Row::PLAIN
};

/// Seconds for which a client stays with an endpoint, unless the Service says otherwise: 3 hours.
const AFFINITY_SECONDS: i64 = 10_800;

fn affinity(spec: &mut Object) {
    match spec.text("sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" if !spec.has("sessionAffinityConfig.clientIP.timeoutSeconds") => {
            let config = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
            spec.insert("sessionAffinityConfig".into(), config);
        }
        _ => {}
    }
}

/// A port is served by the same port of the pods.
fn target_port(port: &mut Object) {
    let unsaid = match port.value("targetPort") {
        None => true,
        Some(Value::String(name)) => name.is_empty(),
        Some(number) => number.as_i64() == Some(0),
    };
    if let (true, Some(own)) = (unsaid, port.value("port").cloned()) {
        port.insert("targetPort".into(), own);
    }
}

fn policies(spec: &mut Object) {
    if externally_accessible(spec) && spec.text("externalTrafficPolicy").is_empty() {
        spec.insert("externalTrafficPolicy".into(), "Cluster".into());
    }
    let service_type = spec.text("type").to_owned();
    if matches!(&*service_type, "NodePort" | "LoadBalancer" | "ClusterIP") && !spec.has("internalTrafficPolicy") {
        spec.insert("internalTrafficPolicy".into(), "Cluster".into());
    }
    if service_type == "LoadBalancer" && !spec.has("allocateLoadBalancerNodePorts") {
        spec.insert("allocateLoadBalancerNodePorts".into(), true.into());
    }
}

fn ip_mode(service: &mut Object) {
    if service.text("spec.type") == "LoadBalancer" {
        for ingress in objects_mut(service, "status.loadBalancer.ingress") {
            if !ingress.text("ip").is_empty() && !ingress.has("ipMode") {
                ingress.insert("ipMode".into(), "VIP".into());
            }
        }
    }
}

/// Whether clients outside of the cluster are meant to reach a Service.
pub(super) fn externally_accessible(spec: &Object) -> bool {
    matches!(spec.text("type"), "LoadBalancer" | "NodePort")
        || spec.text("type") == "ClusterIP" && !spec.list("externalIPs").is_empty()
}

pub(super) fn needs_health_check(spec: &Object) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// Clears what a change of type makes meaningless, unless this very update also changes it: upstream's
/// `dropTypeDependentFields`.
fn prepare_update(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if cx.subresource.is_some() {
        return;
    }
    let before = old.map("spec");
    let after = new.section("spec");
    let leaves = |wanted: fn(&Object) -> bool, after: &Object| wanted(before) && !wanted(after);
    let kept = |field: &str, after: &Object| same(before.get(field), after.get(field));

    if leaves(|spec| spec.text("type") != "ExternalName", after) {
        if kept("clusterIP", after) && kept("clusterIPs", after) {
            after.remove("clusterIP");
            after.remove("clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if kept(field, after) {
                after.remove(field);
            }
        }
    }
    if leaves(|spec| matches!(spec.text("type"), "NodePort" | "LoadBalancer"), after)
        && adds_no_node_port(before, after)
    {
        objects_mut(after, "ports").for_each(|port| drop(port.remove("nodePort")));
    }
    if leaves(needs_health_check, after) && kept("healthCheckNodePort", after) {
        after.remove("healthCheckNodePort");
    }
    if leaves(|spec| spec.text("type") == "LoadBalancer", after) {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if kept(field, after) {
                after.remove(field);
            }
        }
    }
    if leaves(externally_accessible, after) && kept("externalTrafficPolicy", after) {
        after.remove("externalTrafficPolicy");
    }
    if after.text("type") != "LoadBalancer" {
        new.section("status").insert("loadBalancer".into(), json!({}));
    }
}

fn adds_no_node_port(before: &Object, after: &Object) -> bool {
    let has = |port: i64| before.objects("ports").any(|old| old.number("nodePort") == port);
    after.objects("ports").map(|port| port.number("nodePort")).all(|port| port == 0 || has(port))
}

/// Texts for fields that do not do what they seem to: upstream's `GetWarningsForService`.
fn warnings(service: &Object) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let spec = service.map("spec");
    let kind = spec.text("type");
    let headless = spec.text("clusterIP") == "None";
    let external = !spec.list("externalIPs").is_empty();
    let hints = format!("annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead");
    let close = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
    let texts = [
        (service.map("metadata.annotations").contains_key(HINTS), hints.as_str()),
        (headless && !spec.text("loadBalancerIP").is_empty(), "spec.loadBalancerIP is ignored for headless services"),
        (headless && external, "spec.externalIPs is ignored for headless services"),
        (headless && spec.text("sessionAffinity") != "None", "spec.SessionAffinity is ignored for headless services"),
        (kind == "ExternalName" && external, "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (
            kind != "ExternalName" && !spec.text("externalName").is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        ),
        (spec.text("trafficDistribution") == "PreferClose", close),
    ];
    texts.iter().filter(|(holds, _)| *holds).map(|(_, text)| (*text).to_owned()).collect()
}
