//! What an update that does not name a Service's addresses and ports keeps of them.

use knarr_api::Object;
use knarr_api::tree::{Tree, objects_mut, same};
use serde_json::Value;

pub(super) fn has_cluster_ip(spec: &Object) -> bool {
    matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

pub(super) fn has_node_ports(spec: &Object) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer")
}

pub(super) fn has_health_check_port(spec: &Object) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// Fills `clusterIPs` of a client that only knows `clusterIP`, and takes over what the update leaves out
/// (upstream's `normalizeClusterIPs` and `patchAllocatedValues`).
pub(super) fn inherit(new: &mut Object, old: Option<&Object>) {
    let Some(old) = old else {
        if !new.text("clusterIP").is_empty() && new.list("clusterIPs").is_empty() {
            let only = new.text("clusterIP").into();
            new.insert("clusterIPs".into(), Value::Array(vec![only]));
        }
        return;
    };
    linked_fields(new, old);
    if has_cluster_ip(old) && has_cluster_ip(new) {
        for field in ["clusterIP", "clusterIPs"] {
            if new.text("clusterIP").is_empty() || new.list("clusterIPs").is_empty() {
                copy(new, old, field);
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if !new.has(field) {
                copy(new, old, field);
            }
        }
    }
    if has_node_ports(old) && has_node_ports(new) {
        node_ports(new, old);
    }
    if has_health_check_port(old) && has_health_check_port(new) && new.number("healthCheckNodePort") == 0 {
        copy(new, old, "healthCheckNodePort");
    }
}

fn copy(new: &mut Object, old: &Object, field: &str) {
    if let Some(value) = old.get(field) {
        new.insert(field.to_owned(), value.clone());
    }
}

fn linked_fields(new: &mut Object, old: &Object) {
    let unchanged = same(new.get("clusterIPs"), old.get("clusterIPs"));
    let (now, before) = (new.text("clusterIP").to_owned(), old.text("clusterIP"));
    if new.list("clusterIPs").is_empty() && now == before {
        copy(new, old, "clusterIPs");
    } else if unchanged && now != before {
        let list = if now.is_empty() { Value::Null } else { Value::Array(vec![now.into()]) };
        new.insert("clusterIPs".into(), list);
    }
}

/// Ports keep their node port by name, unless another port of the new Service uses it already.
fn node_ports(new: &mut Object, old: &Object) {
    let used: Vec<i64> = new.objects("ports").map(|port| port.number("nodePort")).collect();
    let kept: Vec<(String, i64)> =
        old.objects("ports").map(|port| (port.text("name").to_owned(), port.number("nodePort"))).collect();
    for port in objects_mut(new, "ports").filter(|port| port.number("nodePort") == 0) {
        let own = kept.iter().find(|(name, number)| *name == port.text("name") && !used.contains(number));
        if let Some((_, number)) = own.filter(|(_, number)| *number != 0) {
            port.insert("nodePort".into(), (*number).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(new: Value, old: Value, expect: Value) {
        let (Value::Object(mut new), Value::Object(old)) = (new, old) else { panic!("no objects") };
        inherit(&mut new, Some(&old));
        new.retain(|_, value| !value.is_null());
        assert_eq!(Value::Object(new), expect);
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let old = json!({"type": "NodePort", "clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]});
        check(
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 8080}, {"name": "c", "port": 81, "nodePort": 30002}]}),
            old.clone(),
            json!({"type": "NodePort", "clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5"],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "a", "port": 8080, "nodePort": 30001}, {"name": "c", "port": 81, "nodePort": 30002}]}),
        );
        check(
            json!({"type": "ExternalName", "externalName": "x", "clusterIPs": []}),
            json!({"type": "ExternalName"}),
            json!({"type": "ExternalName", "externalName": "x", "clusterIPs": []}),
        );
    }
}
