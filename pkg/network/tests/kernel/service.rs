//! The rules of Services, seen by clients.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::Key;
use knarr_network::service::{Config, Locality, Rules};
use serde_json::{Value, json};

use crate::lab::{Host, eventually};
use crate::node::Node;

const REFUSED: Result<String, ErrorKind> = Err(ErrorKind::ConnectionRefused);

/// A node with Services.
struct Cluster {
    node: Node,
    rules: Rules,
}

fn rules() -> Rules {
    Rules::new(Config {
        here: Locality { node: "n1".into(), zone: String::new() },
        pod_ranges: vec!["10.42.0.0/16".parse().unwrap()],
        service_ranges: vec!["10.43.0.0/16".parse().unwrap()],
        own: vec!["10.43.0.10".parse().unwrap()],
    })
}

impl Cluster {
    fn new() -> Self {
        Self { node: Node::new(), rules: rules() }
    }

    fn set(&mut self, name: &str, spec: Value, balancer: Option<&str>, endpoints: &[&str]) {
        let service: Service = serde_json::from_value(json!({
            "metadata": {
                "namespace": "default", "name": name,
                "annotations": {"metallb.io/ip-allocated-from-pool": "pool"},
            },
            "spec": spec,
            "status": {"loadBalancer": {"ingress": balancer.map(|ip| vec![json!({"ip": ip})])}},
        }))
        .unwrap();
        let protocol = service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].protocol.clone();
        let endpoints: Vec<_> = endpoints.iter().map(|ip| json!({"addresses": [ip], "nodeName": "n1"})).collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {}, "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "", "port": 8080, "protocol": protocol}],
        }))
        .unwrap();
        self.rules.set(&Key::new("default", name), Some(&service), [&slice]);
        self.sync();
    }

    fn sync(&mut self) {
        let rules = &mut self.rules;
        self.node.host.block_on(async { rules.sync().await.unwrap() });
    }

    /// As if the process had been killed and started again; what it knows is in the kernel.
    fn restart(&mut self) {
        self.rules = rules();
    }
}

fn cluster_ip() -> Value {
    json!({"type": "ClusterIP", "clusterIP": "10.43.0.5", "ports": [{"port": 80, "protocol": "TCP"}]})
}

fn load_balancer(more: Value) -> Value {
    let mut spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.43.0.5",
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn with_bridge_filter(host: &Host, on: bool) {
    // Where the kernel has no such switch, there is nothing to test but the same thing twice.
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    host.sh(&format!("[ ! -e {switch} ] || echo {} > {switch}", u8::from(on)));
}

#[test]
fn a_cluster_ip_is_reached_from_everywhere_on_the_node() {
    for bridge_filter in [true, false] {
        let mut cluster = Cluster::new();
        with_bridge_filter(&cluster.node.host, bridge_filter);
        let ((server, ip), (client, client_ip)) = (cluster.node.pod("server"), cluster.node.pod("client"));
        let _listener = server.serve(8080);
        cluster.set("web", cluster_ip(), None, &[&ip]);
        assert_eq!(client.ask("10.43.0.5:80"), Ok(client_ip), "another pod is seen as it is");
        assert_eq!(server.ask("10.43.0.5:80"), Ok("10.42.0.1".into()), "a pod reaches itself");
        assert_eq!(cluster.node.host.ask("10.43.0.5:80"), Ok("10.42.0.1".into()), "the node needs no default route");
    }
}

#[test]
fn ports_and_addresses_that_no_service_has_are_told_apart() {
    let mut cluster = Cluster::new();
    let (client, _) = cluster.node.pod("client");
    cluster.set("empty", cluster_ip(), None, &[]);
    for host in [&client, &cluster.node.host] {
        assert_eq!(host.ask("10.43.0.5:80"), REFUSED, "no endpoints");
        assert_eq!(host.ask("10.43.0.5:81"), REFUSED, "no such port");
        assert_eq!(host.ask("10.43.0.77:80"), Err(ErrorKind::TimedOut), "no such Service");
        assert_eq!(host.ask("10.43.0.10:53"), REFUSED, "the node answers for the cluster DNS itself");
    }
}

#[test]
fn clients_on_the_lan_reach_node_ports_and_load_balancers_under_their_own_address() {
    for bridge_filter in [true, false] {
        let mut cluster = Cluster::new();
        with_bridge_filter(&cluster.node.host, bridge_filter);
        let (server, ip) = cluster.node.pod("server");
        let _listener = server.serve(8080);
        // As the speaker holds it.
        cluster.node.host.sh("ip addr add 192.0.2.240/32 dev knarr0 scope host");
        let _sshd = cluster.node.host.serve(22);
        cluster.set("web", load_balancer(json!({})), Some("192.0.2.240"), &[&ip]);
        let lan = &cluster.node.lan;
        assert_eq!(lan.ask("192.0.2.1:30080"), Ok("192.0.2.9".into()));
        assert_eq!(lan.ask("192.0.2.240:80"), Ok("192.0.2.9".into()));
        assert_eq!(lan.ask("192.0.2.1:22"), Ok("192.0.2.9".into()));
        for host in [lan, &cluster.node.host, &server] {
            assert_eq!(host.ask("192.0.2.240:22"), REFUSED, "the node's own programs do not answer there");
            assert_eq!(host.ask("192.0.2.240:30080"), REFUSED, "it is no address of the node");
        }
        assert_eq!(cluster.node.host.ask("192.0.2.240:80"), Ok("10.42.0.1".into()));
        assert_eq!(cluster.node.host.ask("192.0.2.1:30080"), Ok("10.42.0.1".into()));
        assert_eq!(server.ask("192.0.2.240:80"), Ok("10.42.0.1".into()), "a pod reaches itself");
        cluster.set("web", load_balancer(json!({})), Some("192.0.2.240"), &[]);
        assert_eq!(cluster.node.lan.ask("192.0.2.240:80"), REFUSED);
        assert_eq!(cluster.node.lan.ask("192.0.2.1:30080"), REFUSED);
    }
}

#[test]
fn source_ranges_keep_others_out() {
    let mut cluster = Cluster::new();
    let (server, ip) = cluster.node.pod("server");
    let _listener = server.serve(8080);
    cluster.node.host.sh("ip addr add 192.0.2.240/32 dev knarr0 scope host");
    let ask = |cluster: &Cluster| cluster.node.lan.ask("192.0.2.240:80");
    cluster.set(
        "web",
        load_balancer(json!({"loadBalancerSourceRanges": ["192.0.2.8/29"]})),
        Some("192.0.2.240"),
        &[&ip],
    );
    assert_eq!(ask(&cluster), Ok("192.0.2.9".into()));
    cluster.set(
        "web",
        load_balancer(json!({"loadBalancerSourceRanges": ["192.0.2.0/29"]})),
        Some("192.0.2.240"),
        &[&ip],
    );
    assert_eq!(ask(&cluster), Err(ErrorKind::TimedOut));
    assert_eq!(cluster.node.lan.ask("192.0.2.1:30080"), Ok("192.0.2.9".into()), "node ports know no ranges");
}

#[test]
fn affinity_outlives_other_changes_and_the_process() {
    let mut cluster = Cluster::new();
    let pods: Vec<_> = (0..4).map(|number| cluster.node.pod(&format!("server{number}"))).collect();
    let names = ["/0", "/1", "/2", "/3"];
    let _listeners: Vec<_> = pods.iter().zip(names).map(|((pod, _), name)| pod.serve_as(8080, name)).collect();
    let mut sticky = cluster_ip();
    sticky["sessionAffinity"] = "ClientIP".into();
    let ips: Vec<_> = pods.iter().map(|(_, ip)| ip.as_str()).collect();
    cluster.set("web", sticky.clone(), None, &ips);
    let host = |cluster: &Cluster| cluster.node.host.ask("10.43.0.5:80").unwrap();
    let first = host(&cluster);
    let same = |cluster: &Cluster| (0..8).for_each(|_| assert_eq!(host(cluster), first));
    same(&cluster);
    let mut other = cluster_ip();
    other["clusterIP"] = "10.43.0.6".into();
    cluster.set("other", other, None, &ips);
    same(&cluster);
    cluster.restart();
    same(&cluster);
    cluster.set("web", sticky.clone(), None, &ips);
    same(&cluster);
    assert_eq!(cluster.node.host.ask("10.43.0.6:80"), Err(ErrorKind::TimedOut), "what nobody wants any more is gone");
    let gone: usize = first.split('/').nth(1).unwrap().parse().unwrap();
    let left: Vec<_> = ips.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, ip)| *ip).collect();
    cluster.set("web", sticky, None, &left);
    assert_ne!(host(&cluster), first);
}

#[test]
fn what_others_did_to_the_tables_is_repaired() {
    let mut cluster = Cluster::new();
    let (server, ip) = cluster.node.pod("server");
    let _listener = server.serve(8080);
    cluster.set("web", cluster_ip(), None, &[&ip]);
    let before = cluster.node.host.sh("nft list table ip knarr");
    for damage in [
        "nft flush ruleset",
        "nft flush chain ip knarr services",
        "nft add rule ip knarr services drop",
        "nft flush map ip knarr service-ips",
        "nft add chain ip knarr x; nft add rule ip knarr x drop; nft add rule ip knarr filter-input jump x",
        "nft delete chain ip knarr filter-input; nft add chain ip knarr filter-input { type filter hook input priority 9 \\; }",
    ] {
        cluster.node.host.sh(damage);
        cluster.rules.distrust();
        cluster.sync();
        assert_eq!(cluster.node.host.ask("10.43.0.5:80"), Ok("10.42.0.1".into()), "{damage}");
    }
    let rested = Instant::now() + Duration::from_millis(1100);
    eventually(true, || Instant::now() > rested);
    cluster.sync();
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(cluster.node.host.sh("nft list table ip knarr")), sorted(before));
}

#[test]
fn a_change_that_the_kernel_refuses_is_found_out() {
    let mut cluster = Cluster::new();
    let (server, ip) = cluster.node.pod("server");
    let _listener = server.serve(8080);
    cluster.set("web", cluster_ip(), None, &[]);
    cluster.node.host.sh("nft flush ruleset");
    // The process does not know, and sends what should be a small difference.
    cluster.set("web", cluster_ip(), None, &[&ip]);
    assert_eq!(cluster.node.host.ask("10.43.0.5:80"), Ok("10.42.0.1".into()));
}

#[test]
fn many_services_cost_one_transaction_and_a_change_only_its_own_part() {
    let mut cluster = Cluster::new();
    let (server, ip) = cluster.node.pod("server");
    let _listener = server.serve(8080);
    for number in 0..2000u32 {
        let spec = json!({
            "clusterIP": format!("10.43.{}.{}", 100 + number / 250, 1 + number % 250),
            "ports": [{"port": 80, "protocol": "TCP"}],
        });
        let service =
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": format!("s{number}")}, "spec": spec}));
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {}, "addressType": "IPv4", "endpoints": [{"addresses": [ip], "nodeName": "n1"}],
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        }))
        .unwrap();
        cluster.rules.set(&Key::new("n", &format!("s{number}")), Some(&service.unwrap()), [&slice]);
    }
    cluster.sync();
    assert_eq!(cluster.node.host.ask("10.43.107.250:80"), Ok("10.42.0.1".into()));
    cluster.rules.set(&Key::new("n", "s1999"), None, []);
    cluster.sync();
    assert_eq!(cluster.node.host.ask("10.43.107.250:80"), Err(ErrorKind::TimedOut));
    assert_eq!(cluster.node.host.ask("10.43.107.249:80"), Ok("10.42.0.1".into()));
}

#[test]
fn udp_finds_the_endpoint_that_is_there() {
    let mut cluster = Cluster::new();
    let pods = [cluster.node.pod("a"), cluster.node.pod("b")];
    let (client, _) = cluster.node.pod("client");
    let answer = |pod: &Host, name: &'static [u8]| {
        let socket = pod.run(|| UdpSocket::bind("0.0.0.0:8080").unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _client_left = socket.send_to(name, from);
            }
        })
    };
    let _servers = [answer(&pods[0].0, b"a"), answer(&pods[1].0, b"b")];
    let dns = || json!({"clusterIP": "10.43.0.5", "ports": [{"port": 53, "protocol": "UDP"}]});
    let socket = client.run(|| UdpSocket::bind("0.0.0.0:4242").unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let ask = || {
        socket.send_to(b"?", "10.43.0.5:53").unwrap();
        let mut buffer = [0; 16];
        socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()).ok()
    };
    cluster.set("dns", dns(), None, &[&pods[0].1]);
    assert_eq!(ask().as_deref(), Some("a"));
    // The same client port: connection tracking still knows the first endpoint.
    cluster.set("dns", dns(), None, &[&pods[1].1]);
    assert_eq!(ask().as_deref(), Some("b"));
}
