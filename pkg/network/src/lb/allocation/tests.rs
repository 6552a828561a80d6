use super::super::pool::tests::pools;
use super::*;
use serde_json::{Value, json};

fn service(name: &str, more: Value) -> Service {
    let mut object = json!({
        "metadata": {"namespace": "default", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.43.0.5"], "ports": [{"port": 80, "protocol": "TCP"}]},
    });
    merge(&mut object, more);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, more) => *into = more,
    }
}

fn having(ips: &[&str]) -> Value {
    let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"status": {"loadBalancer": {"ingress": ingress}}})
}

fn with(mut base: Value, more: Value) -> Value {
    merge(&mut base, more);
    base
}

fn annotated(name: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {name: value}}})
}

/// Two addresses for everybody, some for who asks, one for IPv6.
fn example() -> Pools {
    pools(json!({
        "main": {"addresses": ["192.0.2.10-192.0.2.11"]},
        "asked": {"addresses": ["198.51.100.0/30"], "autoAssign": false},
        "shop": {"addresses": ["203.0.113.0/30"], "autoAssign": false, "serviceAllocation": {"namespaces": ["shop"]}},
        "six": {"addresses": ["fd00::/126"]},
    }))
    .unwrap()
}

/// What becomes of a Service in one line.
fn fate(service: &Service, others: &[Service]) -> String {
    let others: Vec<_> = others.iter().filter_map(Taken::of).collect();
    match decide(service, &others, &example(), &BTreeMap::new()) {
        Decision::Leave => "leave".into(),
        Decision::Clear => "clear".into(),
        Decision::Fail(reason) => format!("fail: {reason}"),
        Decision::Assign { ips, pool, known } => {
            let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
            format!("{} of {pool}{}", ips.join(","), if known { ", known" } else { "" })
        }
    }
}

#[test]
fn a_service_gets_the_first_free_address_and_keeps_it() {
    let first = service("a", having(&["192.0.2.10"]));
    assert_eq!(fate(&service("b", json!({})), &[]), "192.0.2.10 of main");
    assert_eq!(fate(&service("b", json!({})), std::slice::from_ref(&first)), "192.0.2.11 of main");
    let second = service("c", having(&["192.0.2.11"]));
    assert_eq!(fate(&service("b", json!({})), &[first.clone(), second]), "fail: no available IPs");
    assert_eq!(fate(&first, &[]), "192.0.2.10 of main, known", "its annotation is missing");
    let annotation = annotated("metallb.io/ip-allocated-from-pool", "main");
    assert_eq!(fate(&service("a", with(having(&["192.0.2.10"]), annotation)), &[]), "leave");
}

#[test]
fn what_a_service_asks_for_counts() {
    for (case, asked, expected) in [
        ("a pool", annotated("metallb.io/address-pool", "asked"), "198.51.100.0 of asked"),
        ("the older prefix", annotated("metallb.universe.tf/address-pool", "asked"), "198.51.100.0 of asked"),
        ("no such pool", annotated("metallb.io/address-pool", "x"), "fail: unknown pool \"x\""),
        (
            "a pool that is tied to others",
            annotated("metallb.io/address-pool", "shop"),
            "fail: pool \"shop\" is not compatible with this Service",
        ),
        ("an address", annotated("metallb.io/loadBalancerIPs", "198.51.100.2"), "198.51.100.2 of asked"),
        ("the field", json!({"spec": {"loadBalancerIP": "192.0.2.11"}}), "192.0.2.11 of main"),
        (
            "the annotation before the field",
            with(
                json!({"spec": {"loadBalancerIP": "192.0.2.11"}}),
                annotated("metallb.io/loadBalancerIPs", "192.0.2.10"),
            ),
            "192.0.2.10 of main",
        ),
        (
            "an address of no pool",
            annotated("metallb.io/loadBalancerIPs", "8.8.8.8"),
            "fail: [\"8.8.8.8\"] is not allowed in config",
        ),
        (
            "an address of another pool",
            with(annotated("metallb.io/loadBalancerIPs", "192.0.2.10"), annotated("metallb.io/address-pool", "asked")),
            "fail: [\"192.0.2.10\"] is in pool main, but the Service asks for pool \"asked\"",
        ),
        (
            "no address",
            annotated("metallb.io/loadBalancerIPs", "x"),
            "fail: invalid spec.loadBalancerIP or annotation: \"x\" is no address",
        ),
        (
            "an address of another family",
            annotated("metallb.io/loadBalancerIPs", "fd00::1"),
            "fail: the addresses that it asks for ([\"fd00::1\"]) do not fit its IP families",
        ),
    ] {
        assert_eq!(fate(&service("a", asked), &[]), expected, "{case}");
    }
}

#[test]
fn a_changed_wish_moves_the_service() {
    let asked = with(having(&["192.0.2.10"]), annotated("metallb.io/loadBalancerIPs", "192.0.2.11"));
    assert_eq!(fate(&service("a", asked), &[]), "192.0.2.11 of main");
    let pool = with(having(&["192.0.2.10"]), annotated("metallb.io/address-pool", "asked"));
    assert_eq!(fate(&service("a", pool), &[]), "198.51.100.0 of asked");
    assert_eq!(fate(&service("a", having(&["10.9.9.9"])), &[]), "192.0.2.10 of main", "its pool is gone");
}

#[test]
fn an_address_is_shared_by_key_with_other_ports_only() {
    let shared = |port: u16, key: &str, more: Value| {
        let object = with(
            annotated("metallb.io/allow-shared-ip", key),
            json!({"spec": {"ports": [{"port": port, "protocol": "TCP"}]}}),
        );
        with(object, more)
    };
    let first = |more: Value| service("a", with(shared(80, "k", having(&["192.0.2.10"])), more));
    let wants = annotated("metallb.io/loadBalancerIPs", "192.0.2.10");
    let local = |app: &str| json!({"spec": {"externalTrafficPolicy": "Local", "selector": {"app": app}}});
    let refused = "fail: can't assign 192.0.2.10: it is in use by default/a, which does not share it";
    for (case, second, first, expected) in [
        ("same key", shared(81, "k", wants.clone()), first(json!({})), "192.0.2.10 of main"),
        ("another key", shared(81, "x", wants.clone()), first(json!({})), refused),
        ("no key", with(wants.clone(), json!({"spec": {"ports": [{"port": 81}]}})), first(json!({})), refused),
        (
            "the same port",
            shared(80, "k", wants.clone()),
            first(json!({})),
            "fail: can't assign 192.0.2.10: port 80/TCP of it is in use by default/a",
        ),
        ("one is local", shared(81, "k", with(wants.clone(), local("x"))), first(json!({})), refused),
        (
            "both are, of the same pods",
            shared(81, "k", with(wants.clone(), local("x"))),
            first(local("x")),
            "192.0.2.10 of main",
        ),
        ("both are, of others", shared(81, "k", with(wants, local("x"))), first(local("y")), refused),
    ] {
        assert_eq!(fate(&service("b", second), &[first]), expected, "{case}");
    }
}

#[test]
fn of_two_with_one_address_the_younger_yields() {
    let old = service("old", having(&["192.0.2.10"]));
    let young = json!({"metadata": {"creationTimestamp": "2026-02-01T00:00:00Z"}});
    let young = service("a-young", with(having(&["192.0.2.10"]), young));
    assert_eq!(fate(&old, std::slice::from_ref(&young)), "192.0.2.10 of main, known");
    assert_eq!(fate(&young, &[old]), "192.0.2.11 of main");
}

#[test]
fn other_classes_and_types_are_not_ours() {
    let class = json!({"spec": {"loadBalancerClass": "example.com/other"}});
    assert_eq!(fate(&service("a", class.clone()), &[]), "leave");
    assert_eq!(fate(&service("a", with(class, having(&["192.0.2.10"]))), &[]), "leave");
    let cluster_ip = json!({"spec": {"type": "ClusterIP"}});
    assert_eq!(fate(&service("a", with(cluster_ip.clone(), having(&["192.0.2.10"]))), &[]), "leave");
    let was = with(having(&["192.0.2.10"]), annotated("metallb.io/ip-allocated-from-pool", "main"));
    assert_eq!(fate(&service("a", with(cluster_ip, was.clone())), &[]), "clear");
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-03-01T00:00:00Z"}});
    assert_eq!(fate(&service("a", with(was, deleting)), &[]), "leave");
}

#[test]
fn two_families_come_from_one_pool() {
    let both = json!({"spec": {"clusterIPs": ["10.43.0.5", "fd01::5"], "ipFamilyPolicy": "RequireDualStack"}});
    assert_eq!(fate(&service("a", both.clone()), &[]), "fail: no available IPs");
    let prefer = with(both, json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}}));
    assert_eq!(fate(&service("a", prefer), &[]), "192.0.2.10 of main");
    let six = json!({"spec": {"clusterIPs": ["fd01::5"]}});
    assert_eq!(fate(&service("a", six), &[]), "fd00:: of six");
}
