//! Validation of Services: upstream's `ValidateServiceCreate` and `ValidateServiceUpdate`.
//!
//! It runs when addresses and ports have been allocated.

use std::collections::BTreeSet;

use super::endpoints::check_address;
use super::service::{externally_accessible, needs_health_check};
use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::pod::{PROTOCOLS, check_port};
use crate::strategy::rules::{At, IMMUTABLE, Rule, check, formed, in_range};
use crate::strategy::{forms, selector};
use crate::tree::{Tree, same};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const TRAFFIC_POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
/// Seconds of a day, the longest affinity.
const LONGEST_AFFINITY: i64 = 86_400;

fn is_headless(spec: &Object) -> bool {
    spec.texts("clusterIPs").next() == Some("None") && spec.list("clusterIPs").len() == 1
}

/// Checks a Service on its own.
pub(super) fn check_service(errors: &mut Errors, service: &Object) {
    let spec = At { path: Path::root("spec"), object: service.map("spec") };
    let (object, kind) = (spec.object, spec.text("type"));
    if object.list("ports").is_empty() && !is_headless(object) && kind != "ExternalName" {
        errors.required(spec.path("ports"), "");
    }
    check_type(errors, &spec);
    let mut names = BTreeSet::new();
    for port in spec.each("ports") {
        check_service_port(errors, &port, &spec, &mut names);
    }
    selector::check_labels(errors, object.map("selector"), &spec.path("selector"));
    check_affinity(errors, &spec);
    check_addresses(errors, &spec);
    for (path, address) in spec.texts("externalIPs") {
        match forms::ip(address) {
            faults if faults.is_empty() => check_address(errors, &path, address),
            faults => faults.into_iter().for_each(|fault| errors.invalid(path.clone(), address, fault)),
        }
    }
    check(errors, &spec, &[Rule::MustBe("type", TYPES)]);
    check_unique_ports(errors, &spec);
    check_source_ranges(errors, &spec);
    check_balancer(errors, &spec);
    check_policies(errors, &spec);
}

fn check_type(errors: &mut Errors, spec: &At<'_>) {
    let kind = spec.text("type");
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec.object) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(spec.path("clusterIPs").index(0), "None", detail);
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !same(spec.object.get(field), None) {
                    errors.forbidden(spec.path(field), "may not be set for ExternalName services");
                }
            }
            let name = spec.text("externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.required(spec.path("externalName"), ""),
                name => formed(errors, &spec.path("externalName"), name, forms::subdomain),
            }
        }
        _ => {}
    }
}

fn check_service_port<'a>(errors: &mut Errors, port: &At<'a>, spec: &At<'_>, names: &mut BTreeSet<&'a str>) {
    let name = port.text("name");
    if name.is_empty() {
        if spec.object.list("ports").len() > 1 {
            errors.required(port.path("name"), "");
        }
    } else {
        formed(errors, &port.path("name"), name, forms::label);
        if !names.insert(name) {
            errors.duplicate(port.path("name"), name);
        }
    }
    in_range(errors, port.path("port"), port.object.number("port"), 1, 65535);
    check(errors, port, &[Rule::MustBe("protocol", PROTOCOLS)]);
    check_port(errors, port.path("targetPort"), port.object.value("targetPort"));
    check(errors, port, &[Rule::Formed("appProtocol", forms::qualified)]);
}

fn check_affinity(errors: &mut Errors, spec: &At<'_>) {
    check(errors, spec, &[Rule::MustBe("sessionAffinity", &["ClientIP", "None"])]);
    let config = spec.path("sessionAffinityConfig");
    match (spec.text("sessionAffinity"), spec.object.value("sessionAffinityConfig.clientIP.timeoutSeconds")) {
        ("ClientIP", None) => {
            let path = config.child("clientIP").child("timeoutSeconds");
            errors.required(path, "when session affinity type is ClientIP");
        }
        ("ClientIP", Some(seconds)) => {
            let seconds = seconds.as_i64().unwrap_or_default();
            if !(1..=LONGEST_AFFINITY).contains(&seconds) {
                let detail = format!("must be greater than 0 and less than {LONGEST_AFFINITY}");
                errors.invalid(config.child("clientIP").child("timeoutSeconds"), seconds, detail);
            }
        }
        ("None", _) if spec.object.has("sessionAffinityConfig") => {
            errors.forbidden(config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

/// `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` tell one story.
fn check_addresses(errors: &mut Errors, spec: &At<'_>) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let path = spec.path("clusterIPs");
    let addresses: Vec<_> = spec.object.texts("clusterIPs").collect();
    match (spec.text("clusterIP"), addresses.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            errors.invalid(path.clone(), addresses.clone(), "must be empty when `clusterIP` is not specified");
        }
        (_, None) => errors.required(path.clone(), ""),
        (first, Some(own)) if first != *own => {
            errors.invalid(path.clone(), addresses.clone(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (path, family) in spec.texts("ipFamilies") {
        if !FAMILIES.contains(&family) {
            errors.not_supported(path.clone(), family, FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(path, family);
        }
    }
    check(errors, spec, &[Rule::OneOf("ipFamilyPolicy", FAMILY_POLICIES)]);
    let before = errors.0.len();
    if addresses.first() == Some(&"None") && addresses.len() > 1 {
        errors.invalid(path.clone(), addresses.clone(), "'None' must be the first and only value");
    }
    let own = addresses.iter().enumerate().filter(|(index, address)| *index > 0 || **address != "None");
    own.for_each(|(index, address)| formed(errors, &path.index(index), address, forms::ip));
    if addresses.len() > 2 {
        errors.invalid(path.clone(), addresses.clone(), "may only hold up to 2 values");
    }
    if errors.0.len() == before {
        check_families(errors, spec, &addresses);
    }
}

fn check_families(errors: &mut Errors, spec: &At<'_>, addresses: &[&str]) {
    let path = spec.path("clusterIPs");
    let is_v6 = |address: &&str| address.contains(':');
    if let [one, other] = addresses
        && is_v6(one) == is_v6(other)
    {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid(path.clone(), addresses.to_vec(), detail);
    }
    if is_headless(spec.object) {
        return;
    }
    for (index, (address, family)) in addresses.iter().zip(spec.object.texts("ipFamilies")).enumerate() {
        if FAMILIES.contains(&family) && (family == "IPv6") != is_v6(address) {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(path.index(index), *address, detail);
        }
    }
}

fn check_unique_ports(errors: &mut Errors, spec: &At<'_>) {
    let (mut nodes, mut ports) = (BTreeSet::new(), BTreeSet::new());
    let cluster_only = spec.text("type") == "ClusterIP";
    for port in spec.each("ports").filter(|port| port.object.number("nodePort") != 0) {
        if cluster_only {
            errors.forbidden(port.path("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
        let number = port.object.number("nodePort");
        if !nodes.insert((port.text("protocol"), number)) {
            errors.duplicate(port.path("nodePort"), number);
        }
    }
    for port in spec.each("ports") {
        let (protocol, number) = (port.text("protocol"), port.object.number("port"));
        if !ports.insert((protocol, number)) {
            errors.duplicate(port.path, serde_json::json!({"port": number, "protocol": protocol}));
        }
    }
}

fn check_source_ranges(errors: &mut Errors, spec: &At<'_>) {
    let path = spec.path("LoadBalancerSourceRanges");
    let ranges: Vec<_> = spec.object.texts("loadBalancerSourceRanges").map(str::trim).collect();
    if !ranges.is_empty() && spec.text("type") != "LoadBalancer" {
        errors.forbidden(path.clone(), "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in ranges.iter().enumerate() {
        formed(errors, &path.index(index), range, forms::cidr);
    }
}

fn check_balancer(errors: &mut Errors, spec: &At<'_>) {
    let is_balancer = spec.text("type") == "LoadBalancer";
    match (is_balancer, spec.object.has("allocateLoadBalancerNodePorts")) {
        (false, true) => {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.forbidden(spec.path("allocateLoadBalancerNodePorts"), detail);
        }
        (true, false) => errors.required(Path::root("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    if spec.object.has("loadBalancerClass") {
        if is_balancer {
            formed(errors, &spec.path("loadBalancerClass"), spec.text("loadBalancerClass"), forms::qualified);
        } else {
            errors.forbidden(spec.path("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'");
        }
    }
}

fn check_policies(errors: &mut Errors, spec: &At<'_>) {
    let policy = spec.text("externalTrafficPolicy");
    if externally_accessible(spec.object) {
        check(errors, spec, &[Rule::MustBe("externalTrafficPolicy", TRAFFIC_POLICIES)]);
    } else if !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.invalid(spec.path("externalTrafficPolicy"), policy, detail);
    }
    let port = spec.object.number("healthCheckNodePort");
    match (needs_health_check(spec.object), port) {
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(spec.path("healthCheckNodePort"), port, detail);
        }
        (true, 0) => errors.required(spec.path("healthCheckNodePort"), ""),
        (true, port) => in_range(errors, spec.path("healthCheckNodePort"), port, 1, 65535),
    }
    let inner = spec.object.has("internalTrafficPolicy");
    if !inner && matches!(spec.text("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.required(spec.path("internalTrafficPolicy"), "");
    }
    check(
        errors,
        spec,
        &[Rule::OneOf("internalTrafficPolicy", TRAFFIC_POLICIES), Rule::OneOf("trafficDistribution", DISTRIBUTIONS)],
    );
}

/// Checks a change: addresses and families stay, except that a second one may come and go.
pub(super) fn check_change(errors: &mut Errors, new: &Object, old: &Object) {
    let path = Path::root("spec");
    let (after, before) = (new.map("spec"), old.map("spec"));
    if after.text("type") != "ExternalName" && before.text("type") != "ExternalName" {
        let (now_headless, was_headless) = (is_headless(after), is_headless(before));
        if !(now_headless && was_headless) {
            check_kept(errors, after, before, "clusterIPs", "clusterIP");
        }
        if !now_headless && !was_headless {
            check_kept(errors, after, before, "ipFamilies", "ipFamily");
        }
    }
    let both_balance = [after, before].iter().all(|spec| spec.text("type") == "LoadBalancer");
    if both_balance && !same(after.get("loadBalancerClass"), before.get("loadBalancerClass")) {
        let class = after.get("loadBalancerClass").cloned().unwrap_or_default();
        errors.invalid(path.child("loadBalancerClass"), class, "may not change once set");
    }
    if needs_health_check(after)
        && needs_health_check(before)
        && after.number("healthCheckNodePort") != before.number("healthCheckNodePort")
    {
        errors.forbidden(path.child("healthCheckNodePort"), IMMUTABLE);
    }
}

fn check_kept(errors: &mut Errors, after: &Object, before: &Object, list: &str, one: &str) {
    let path = Path::root("spec").child(list);
    let (new, old): (Vec<_>, Vec<_>) = (after.texts(list).collect(), before.texts(list).collect());
    let changed = || new.iter().zip(&old).enumerate().filter(|(_, (new, old))| new != old);
    if new.len() == old.len() {
        for (index, _) in changed() {
            let index = if list == "ipFamilies" { 0 } else { index };
            errors.invalid(path.index(index), new.clone(), "may not change once set");
        }
        return;
    }
    if new.len() < old.len() && new.is_empty() {
        errors.invalid(path.index(0), new.clone(), format!("primary {one} can not be unset"));
    }
    if changed().next().is_some_and(|(index, _)| index == 0) {
        errors.invalid(path.index(0), new.clone(), "may not change once set");
    }
    if new.len() < old.len() && new.len() == 1 && after.text("ipFamilyPolicy") != "SingleStack" {
        let policy = after.get("ipFamilyPolicy").cloned().unwrap_or_default();
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.invalid(Path::root("spec").child("ipFamilyPolicy"), policy, detail);
    }
}

/// Checks what a load balancer reports.
pub(super) fn check_status(errors: &mut Errors, service: &Object) {
    let balancer = At { path: Path::root("status").child("loadBalancer"), object: service.map("status.loadBalancer") };
    let none = balancer.object.list("ingress").is_empty();
    if service.text("spec.type") != "LoadBalancer" && !none {
        return errors.forbidden(balancer.path("ingress"), "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for ingress in balancer.each("ingress") {
        let (ip, name) = (ingress.text("ip"), ingress.text("hostname"));
        if !ip.is_empty() {
            formed(errors, &ingress.path("ip"), ip, forms::ip);
        }
        match (ip.is_empty(), ingress.object.has("ipMode")) {
            (false, false) => errors.required(ingress.path("ipMode"), "must be specified when `ip` is set"),
            (true, true) => errors.forbidden(ingress.path("ipMode"), "may not be specified when `ip` is not set"),
            _ => check(errors, &ingress, &[Rule::OneOf("ipMode", &["Proxy", "VIP"])]),
        }
        if !name.is_empty() {
            formed(errors, &ingress.path("hostname"), name, forms::subdomain);
            if forms::sloppy_ip(name).is_some() {
                errors.invalid(ingress.path("hostname"), name, "must be a DNS name, not an IP address");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SERVICE;
    use super::*;
    use crate::strategy::{Context, Strategy};
    use crate::user::UserInfo;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Object {
        let Value::Object(mut service) = json!({"metadata": {"name": "s"}, "spec": {
            "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80}]}})
        else {
            unreachable!()
        };
        for (field, value) in spec.as_object().unwrap() {
            service["spec"][field] = value.clone();
        }
        SERVICE.default(&mut service);
        service
    }

    fn said(new: Value, old: Option<Value>) -> String {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        let errors = match old {
            None => SERVICE.validate(&cx, &service(new)),
            Some(old) => SERVICE.validate_update(&cx, &service(new), &service(old)),
        };
        if errors.is_empty() { String::new() } else { errors.to_string() }
    }

    #[test]
    fn texts_are_upstreams() {
        for (spec, text) in [
            (json!({}), ""),
            (json!({"ports": []}), "spec.ports: Required value"),
            (json!({"ports": [{"port": 80}, {"port": 81, "name": "a"}]}), "spec.ports[0].name: Required value"),
            (
                json!({"ports": [{"port": 0}]}),
                "[spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, \
                 spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive]",
            ),
            (
                json!({"type": "Foo", "internalTrafficPolicy": "Cluster"}),
                "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ),
            (
                json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}}}),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400",
            ),
            (
                json!({"clusterIPs": ["10.43.0.8"]}),
                "spec.clusterIPs: Invalid value: [\"10.43.0.8\"]: first value must match `clusterIP`",
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30080}]}),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ),
            (
                json!({"externalIPs": ["127.0.0.1"]}),
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
            (
                json!({"type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"]}),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ),
        ] {
            assert_eq!(said(spec.clone(), None), text, "{spec}");
        }
    }

    #[test]
    fn addresses_stay() {
        let other = json!({"clusterIP": "10.43.0.8", "clusterIPs": ["10.43.0.8"]});
        assert_eq!(
            said(other, Some(json!({}))),
            "spec.clusterIPs[0]: Invalid value: [\"10.43.0.8\"]: may not change once set"
        );
        assert_eq!(said(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}), Some(json!({}))), "");
    }

    #[test]
    fn a_change_of_type_clears_what_it_makes_meaningless() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        let old = service(json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}));
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        SERVICE.prepare_for_update(&cx, &mut new, &old);
        assert!(SERVICE.validate_update(&cx, &new, &old).is_empty());
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
        assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
    }
}
