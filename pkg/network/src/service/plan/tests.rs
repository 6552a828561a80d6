use super::*;
use serde_json::{Value, json};

const EP: &str = "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80";
const BASE: &str = "ULMVA6XW-ns1/svc1/tcp/p80";

/// A Service `ns1/svc1` with a port `p80`, and more of its spec.
fn service(more: Value) -> Value {
    let mut spec = json!({
        "type": "ClusterIP", "clusterIP": "172.30.0.41", "clusterIPs": ["172.30.0.41"],
        "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"namespace": "ns1", "name": "svc1"}, "spec": spec})
}

fn load_balancer(more: Value) -> Value {
    let mut object = service(json!({
        "type": "LoadBalancer", "ports": [{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": 30080}],
    }));
    object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.240", "ipMode": "VIP"}]}});
    object["metadata"]["annotations"] = json!({"metallb.io/ip-allocated-from-pool": "pool"});
    object
}

/// Endpoints at port 80; this node is `n1`.
fn slice(endpoints: &[(&str, &str)]) -> EndpointSlice {
    let endpoints: Vec<_> = endpoints.iter().map(|(ip, node)| json!({"addresses": [ip], "nodeName": node})).collect();
    serde_json::from_value(json!({
        "addressType": "IPv4", "metadata": {}, "endpoints": endpoints,
        "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    }))
    .unwrap()
}

fn planned(service: Value, endpoints: &[(&str, &str)]) -> Plan {
    let here = Locality { node: "n1".into(), zone: String::new() };
    let service = serde_json::from_value(service).unwrap();
    plan(&service, [&slice(endpoints)], &here, Family::V4, &["172.30.0.10".parse().unwrap()])
}

fn elements(plan: &Plan) -> Vec<String> {
    let element = |((set, key), value): (&(&str, String), &String)| match value.as_str() {
        "" => format!("{set} {key}"),
        value => format!("{set} {key} : {value}"),
    };
    plan.elements.iter().map(element).collect()
}

#[test]
fn a_cluster_ip_leads_to_its_endpoints() {
    let plan = planned(service(json!({})), &[("10.180.0.1", "n1"), ("10.180.0.2", "n2")]);
    let remote = plan.chains.keys().find(|name| name.contains("10.180.0.2")).unwrap().clone();
    let cluster = format!("service-{BASE}");
    assert_eq!(
        elements(&plan),
        ["cluster-ips 172.30.0.41".to_owned(), format!("service-ips 172.30.0.41 . tcp . 80 : goto {cluster}"),]
    );
    assert_eq!(plan.chains[&cluster], [format!("numgen random mod 2 vmap {{ 0 : goto {EP}, 1 : goto {remote} }}")]);
    assert_eq!(
        plan.chains[EP],
        ["ip saddr 10.180.0.1 jump mark-for-masquerade", "meta l4proto tcp dnat to 10.180.0.1:80"]
    );
    assert_eq!(
        plan.chains[&remote][1], "fib saddr type != local ip saddr != @pod-ranges jump mark-for-masquerade",
        "who is outside would not get an answer from another node"
    );
    assert_eq!(plan.chains.len(), 3);
    assert!(plan.affinity.is_empty());
}

#[test]
fn what_is_not_proxied_has_no_rules() {
    let labelled = {
        let mut object = service(json!({}));
        object["metadata"]["labels"] = json!({PROXY_NAME: "other"});
        object
    };
    for (case, object) in [
        ("headless", service(json!({"clusterIP": "None", "clusterIPs": ["None"]}))),
        ("external name", service(json!({"type": "ExternalName", "clusterIP": "", "clusterIPs": []}))),
        ("another proxy's", labelled),
        ("the cluster DNS", service(json!({"clusterIP": "172.30.0.10", "clusterIPs": ["172.30.0.10"]}))),
        ("another family", service(json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}))),
    ] {
        assert_eq!(planned(object, &[("10.180.0.1", "n1")]), Plan::default(), "{case}");
    }
}

#[test]
fn without_endpoints_everything_is_refused() {
    let plan = planned(load_balancer(json!({})), &[]);
    assert_eq!(
        elements(&plan),
        [
            "cluster-ips 172.30.0.41",
            "loadbalancer-ips 192.0.2.240",
            "no-endpoint-nodeports tcp . 30080 : goto reject-chain",
            "no-endpoint-services 172.30.0.41 . tcp . 80 : goto reject-chain",
            "no-endpoint-services 192.0.2.240 . tcp . 80 : goto reject-chain",
        ]
    );
    assert!(plan.chains.is_empty());
}

#[test]
fn a_load_balancer_under_the_policy_cluster_keeps_the_clients_address() {
    let plan = planned(load_balancer(json!({"externalIPs": ["198.51.100.1"]})), &[("10.180.0.1", "n1")]);
    let external = format!("external-{BASE}");
    assert_eq!(
        elements(&plan),
        [
            "cluster-ips 172.30.0.41".to_owned(),
            "loadbalancer-ips 192.0.2.240".to_owned(),
            format!("service-ips 172.30.0.41 . tcp . 80 : goto service-{BASE}"),
            format!("service-ips 192.0.2.240 . tcp . 80 : goto {external}"),
            format!("service-ips 198.51.100.1 . tcp . 80 : goto {external}"),
            format!("service-nodeports tcp . 30080 : goto {external}"),
        ]
    );
    assert_eq!(
        plan.chains[&external],
        ["fib saddr type local jump mark-for-masquerade".to_owned(), format!("goto service-{BASE}")]
    );
}

#[test]
fn a_load_balancer_under_the_policy_local_serves_pods_and_the_node_from_everywhere() {
    let local = json!({"externalTrafficPolicy": "Local"});
    let plan = planned(load_balancer(local.clone()), &[("10.180.0.1", "n1"), ("10.180.0.2", "n2")]);
    assert_eq!(
        plan.chains[&format!("external-{BASE}")],
        [
            format!("ip saddr @pod-ranges goto service-{BASE}"),
            "fib saddr type local jump mark-for-masquerade".to_owned(),
            format!("fib saddr type local goto service-{BASE}"),
            format!("goto local-{BASE}"),
        ]
    );
    assert_eq!(plan.chains[&format!("local-{BASE}")], [format!("numgen random mod 1 vmap {{ 0 : goto {EP} }}")]);

    let elsewhere = planned(load_balancer(local), &[("10.180.0.2", "n2")]);
    let refused: Vec<_> = elements(&elsewhere).into_iter().filter(|element| element.starts_with("no-")).collect();
    assert_eq!(
        refused,
        ["no-endpoint-nodeports tcp . 30080 : drop", "no-endpoint-services 192.0.2.240 . tcp . 80 : drop"]
    );
    assert!(elements(&elsewhere).contains(&format!("service-nodeports tcp . 30080 : goto external-{BASE}")));
    assert_eq!(elsewhere.chains[&format!("external-{BASE}")].len(), 3);
}

#[test]
fn an_internal_policy_local_without_an_endpoint_here_drops() {
    let plan = planned(service(json!({"internalTrafficPolicy": "Local"})), &[("10.180.0.2", "n2")]);
    assert_eq!(elements(&plan), ["cluster-ips 172.30.0.41", "no-endpoint-services 172.30.0.41 . tcp . 80 : drop"]);
}

#[test]
fn source_ranges_guard_the_load_balancer_only() {
    let ranges = json!({"loadBalancerSourceRanges": [" 203.0.113.0/24", "198.51.100.7/32", "fd00::/8"]});
    let plan = planned(load_balancer(ranges), &[("10.180.0.1", "n1")]);
    assert!(elements(&plan).contains(&format!("firewall-ips 192.0.2.240 . tcp . 80 : goto firewall-{BASE}")));
    assert_eq!(
        plan.chains[&format!("firewall-{BASE}")],
        ["ip saddr != { 198.51.100.7/32, 203.0.113.0/24, 192.0.2.240 } drop"]
    );
    let everybody = json!({"loadBalancerSourceRanges": ["203.0.113.0/24", "0.0.0.0/0"]});
    let plan = planned(load_balancer(everybody), &[("10.180.0.1", "n1")]);
    assert!(!plan.chains.contains_key(&format!("firewall-{BASE}")));
}

#[test]
fn clients_are_remembered_per_endpoint() {
    let sticky = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
    let plan = planned(service(sticky), &[("10.180.0.1", "n1")]);
    let set = format!("affinity-60-{}", EP.trim_start_matches("endpoint-"));
    assert_eq!(plan.affinity, BTreeMap::from([(set.clone(), Duration::from_secs(60))]));
    assert_eq!(
        plan.chains[&format!("service-{BASE}")],
        [format!("ip saddr @{set} goto {EP}"), format!("numgen random mod 1 vmap {{ 0 : goto {EP} }}")]
    );
    assert_eq!(plan.chains[EP][1], format!("update @{set} {{ ip saddr }}"));
}

#[test]
fn an_address_that_is_no_virtual_one_is_left_to_its_load_balancer() {
    let mut object = load_balancer(json!({}));
    object["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.240", "ipMode": "Proxy"}, {"hostname": "x"}]}});
    let plan = planned(object, &[("10.180.0.1", "n1")]);
    assert!(!elements(&plan).iter().any(|element| element.contains("192.0.2.240")));
}

#[test]
fn udp_frontends_know_where_they_may_lead() {
    let ports =
        json!({"type": "NodePort", "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]});
    let plan = planned(service(ports.clone()), &[("10.180.0.1", "n1")]);
    let endpoints = BTreeSet::from(["10.180.0.1:53".parse().unwrap()]);
    assert_eq!(
        plan.udp,
        BTreeMap::from([
            (Frontend::Address("172.30.0.41:53".parse().unwrap()), endpoints.clone()),
            (Frontend::NodePort(30053), endpoints),
        ])
    );
    assert!(planned(service(ports), &[]).udp.is_empty());
}
