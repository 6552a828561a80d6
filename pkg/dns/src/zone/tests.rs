use super::*;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

fn service(zone: &mut Zone, name: &str, spec: Value, slices: Value) {
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap();
    let slices: Vec<EndpointSlice> = serde_json::from_value(slices).unwrap();
    zone.set("shop", name, ServiceRecords::new(&service, slices.iter()));
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local").unwrap();
    let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    service(
        &mut zone,
        "web",
        json!({"clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5", "fd00::5"], "ports": ports}),
        json!([]),
    );
    let slice = json!([{
        "metadata": {}, "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.42.0.7"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.42.0.8"]},
            {"addresses": ["10.42.0.9"], "conditions": {"ready": false}},
        ],
    }]);
    service(&mut zone, "db", json!({"clusterIP": "None"}), slice);
    service(&mut zone, "away", json!({"type": "ExternalName", "externalName": "example.com"}), json!([]));
    zone
}

/// The answer as text: its records' data, `NXDOMAIN`, `ELSEWHERE`.
fn ask(zone: &Zone, name: &str, kind: RecordType) -> Vec<String> {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    match zone.answer(&name, kind) {
        Answer::Elsewhere => vec!["ELSEWHERE".into()],
        Answer::Alias(record, target) => vec![format!("{} -> {target}", record.record_type())],
        Answer::Ours { code: ResponseCode::NXDomain, .. } => vec!["NXDOMAIN".into()],
        Answer::Ours { records, .. } => {
            let mut texts: Vec<_> = records.iter().map(|record| record.data.to_string()).collect();
            texts.sort();
            texts
        }
    }
}

fn check(name: &str, kind: RecordType, expect: &[&str]) {
    assert_eq!(ask(&zone(), name, kind), expect, "{name} {kind}");
}

#[test]
fn services_with_addresses() {
    check("web.shop.svc.cluster.local", RecordType::A, &["10.43.0.5"]);
    check("WEB.Shop.svc.cluster.LOCAL", RecordType::A, &["10.43.0.5"]);
    check("web.shop.svc.cluster.local", RecordType::AAAA, &["fd00::5"]);
    check("web.shop.svc.cluster.local", RecordType::TXT, &[]);
    check("_http._tcp.web.shop.svc.cluster.local", RecordType::SRV, &["0 100 80 web.shop.svc.cluster.local."]);
    check("_dns._udp.web.shop.svc.cluster.local", RecordType::SRV, &["0 100 53 web.shop.svc.cluster.local."]);
    check("_http._udp.web.shop.svc.cluster.local", RecordType::SRV, &["NXDOMAIN"]);
    check("other.shop.svc.cluster.local", RecordType::A, &["NXDOMAIN"]);
    check("web.other.svc.cluster.local", RecordType::A, &["NXDOMAIN"]);
}

#[test]
fn headless_services() {
    check("db.shop.svc.cluster.local", RecordType::A, &["10.42.0.7", "10.42.0.8"]);
    check("db-0.db.shop.svc.cluster.local", RecordType::A, &["10.42.0.7"]);
    check("10-42-0-8.db.shop.svc.cluster.local", RecordType::A, &["10.42.0.8"]);
    check("db-9.db.shop.svc.cluster.local", RecordType::A, &["NXDOMAIN"]);
    check(
        "_sql._tcp.db.shop.svc.cluster.local",
        RecordType::SRV,
        &["0 100 5432 10-42-0-8.db.shop.svc.cluster.local.", "0 100 5432 db-0.db.shop.svc.cluster.local."],
    );
}

#[test]
fn srv_brings_the_addresses_along() {
    let name = Name::from_ascii("_sql._tcp.db.shop.svc.cluster.local.").unwrap();
    let Answer::Ours { additionals, .. } = zone().answer(&name, RecordType::SRV) else { panic!("not ours") };
    let mut texts: Vec<_> = additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    texts.sort();
    assert_eq!(texts, ["10-42-0-8.db.shop.svc.cluster.local. 10.42.0.8", "db-0.db.shop.svc.cluster.local. 10.42.0.7"]);
}

#[test]
fn everything_else() {
    check("away.shop.svc.cluster.local", RecordType::A, &["CNAME -> example.com."]);
    check("10-42-0-7.shop.pod.cluster.local", RecordType::A, &["10.42.0.7"]);
    check("nonsense.shop.pod.cluster.local", RecordType::A, &["NXDOMAIN"]);
    check("dns-version.cluster.local", RecordType::TXT, &["1.1.0"]);
    check("shop.svc.cluster.local", RecordType::A, &[]);
    check("svc.cluster.local", RecordType::A, &[]);
    check("cluster.local", RecordType::A, &[]);
    check("nothing.cluster.local", RecordType::A, &["NXDOMAIN"]);
    check("example.com", RecordType::A, &["ELSEWHERE"]);
    check("web.shop.svc", RecordType::A, &["ELSEWHERE"]);
}

#[test]
fn reverse() {
    check("5.0.43.10.in-addr.arpa", RecordType::PTR, &["web.shop.svc.cluster.local."]);
    check("7.0.42.10.in-addr.arpa", RecordType::PTR, &["db-0.db.shop.svc.cluster.local."]);
    check("1.1.168.192.in-addr.arpa", RecordType::PTR, &["ELSEWHERE"]);
    check("0.43.10.in-addr.arpa", RecordType::PTR, &["ELSEWHERE"]);
}

#[test]
fn a_service_that_is_gone_leaves_nothing() {
    let mut zone = zone();
    assert!(zone.set("shop", "db", None));
    assert!(!zone.set("shop", "db", None));
    assert_eq!(ask(&zone, "db.shop.svc.cluster.local", RecordType::A), ["NXDOMAIN"]);
    assert_eq!(ask(&zone, "7.0.42.10.in-addr.arpa", RecordType::PTR), ["ELSEWHERE"]);
    for name in ["web", "away"] {
        zone.set("shop", name, None);
    }
    assert_eq!(ask(&zone, "shop.svc.cluster.local", RecordType::A), ["NXDOMAIN"]);
}
