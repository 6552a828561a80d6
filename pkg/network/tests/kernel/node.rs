//! A node with pods on a LAN, and what it does without Services.

use std::net::IpAddr;

use knarr_network::Cidr;
use knarr_network::cni::{self, Command, Request};
use knarr_network::netlink::Netlink;
use knarr_network::node::{Config, Foundation, check_overlap};
use serde_json::json;

use crate::lab::{Directory, Host};

/// A node `192.0.2.1` and another host `192.0.2.9` on a LAN; nobody has a default route.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) lan: Host,
    foundation: Foundation,
    directory: Directory,
}

impl Node {
    pub(crate) fn new() -> Self {
        let (host, lan, directory) = (Host::new("node"), Host::new("lan"), Directory::new());
        host.wire("lan0", "192.0.2.1/24", &lan, "192.0.2.9/24");
        let config = Config {
            node: "n1".into(),
            data_dir: directory.0.clone(),
            binary: "/usr/bin/knarr".into(),
            pod_ranges: vec!["10.42.0.0/16".parse().unwrap()],
            service_ranges: vec!["10.43.0.0/16".parse().unwrap()],
            own: vec![IpAddr::from([10, 43, 0, 10])],
        };
        let mut node = Self { host, lan, foundation: Foundation::new(config), directory };
        node.apply();
        node
    }

    pub(crate) fn apply(&mut self) {
        let subnets: [Cidr; 1] = ["10.42.0.0/24".parse().unwrap()];
        let ips = [IpAddr::from([192, 0, 2, 1])];
        let mtu = self.host.block_on(self.foundation.apply(&subnets, &ips)).unwrap();
        assert_eq!(mtu, 1500);
    }

    /// A pod, with its address.
    pub(crate) fn pod(&self, name: &str) -> (Host, String) {
        let pod = Host::new(name);
        let config = json!({
            "cniVersion": "1.0.0", "type": "knarr", "stateDir": self.directory.0.join("pods"),
            "subnets": ["10.42.0.0/24"], "mtu": 1500,
        });
        let request = Request {
            command: Command::Add,
            container: name.into(),
            netns: Some(pod.path()),
            link: "eth0".into(),
            config: serde_json::from_value(config).unwrap(),
        };
        let answer = self.host.run(|| cni::answer(&request)).unwrap().unwrap();
        let address = answer["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32").to_owned();
        (pod, address)
    }
}

#[test]
fn pods_reach_the_outside_as_the_node_and_each_other_as_themselves() {
    let mut node = Node::new();
    let ((a, ip_a), (b, ip_b)) = (node.pod("a"), node.pod("b"));
    let _servers = [node.lan.serve(80), b.serve(80)];
    assert_eq!(a.ask("192.0.2.9:80"), Ok("192.0.2.1".into()));
    assert_eq!(a.ask(format!("{ip_b}:80")), Ok(ip_a));
    node.apply();
    assert_eq!(a.ask("192.0.2.9:80"), Ok("192.0.2.1".into()));
}

#[test]
fn pods_are_told_no_shortcuts() {
    let node = Node::new();
    node.host.sh("echo 1 > /proc/sys/net/ipv4/conf/all/send_redirects");
    let ((a, _), (b, ip_b)) = (node.pod("a"), node.pod("b"));
    let _server = b.serve(80);
    a.sh("echo 1 > /proc/sys/net/ipv4/conf/all/accept_redirects");
    for _ in 0..20 {
        a.ask(format!("{ip_b}:80")).unwrap();
    }
    let route = a.sh(&format!("ip route get {ip_b}"));
    assert!(route.contains("via 10.42.0.1"), "{route}");
    assert!(!route.contains("redirected"), "{route}");
}

#[test]
fn what_is_lost_is_made_again() {
    let mut node = Node::new();
    let everything = "ip -br link | cut -c1-20; ip -o addr | cut -d@ -f1; ip route; nft list ruleset";
    let before = node.host.sh(everything);
    node.host.sh("nft flush ruleset; ip route del 10.43.0.0/16; ip addr del 10.43.0.10/32 dev knarr0");
    node.foundation.distrust();
    node.apply();
    assert_eq!(node.host.sh(everything), before);
}

#[test]
fn a_range_that_the_host_uses_is_refused_in_one_line() {
    let node = Node::new();
    let ranges: [Cidr; 2] = ["10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap()];
    let check =
        || node.host.run(|| check_overlap(&mut Netlink::open().unwrap(), &ranges).map_err(|error| error.to_string()));
    assert_eq!(check(), Ok(()), "what knarr made itself is no conflict");
    node.host.sh("ip route add 10.42.128.0/17 via 192.0.2.9");
    let refused = check().unwrap_err();
    assert!(refused.starts_with("the range 10.42.0.0/16 is in use on this host"), "{refused}");
    assert_eq!(refused.lines().count(), 1);
}

#[test]
fn the_end_of_the_tables_is_noticed() {
    let node = Node::new();
    node.host.block_on(async {
        let mut monitor = knarr_network::nft::Monitor::open().unwrap();
        node.host.sh("nft add table ip other; nft delete table ip other");
        let foreign = tokio::time::timeout(std::time::Duration::from_millis(100), monitor.lost()).await;
        assert!(foreign.is_err(), "another table is none of ours");
        node.host.sh("nft flush ruleset");
        tokio::time::timeout(std::time::Duration::from_secs(5), monitor.lost()).await.unwrap();
    });
}

#[test]
fn check_names_what_is_unusual() {
    let node = Node::new();
    let ranges: [Cidr; 1] = ["10.42.0.0/16".parse().unwrap()];
    let check = || node.host.run(|| knarr_network::check(&ranges).unwrap());
    assert_eq!(check(), []);
    node.host.sh("echo 1 > /proc/sys/net/ipv4/conf/lan0/arp_ignore; ip route add 10.42.9.0/24 via 192.0.2.9");
    let found: Vec<_> = check().into_iter().map(|lack| lack.what).collect();
    assert!(found[0].starts_with("the range 10.42.0.0/16 is in use"), "{found:?}");
    assert!(found[1].starts_with("lan0 answers ARP for its own addresses only"), "{found:?}");
}

#[test]
fn reset_leaves_the_lan_alone() {
    let mut node = Node::new();
    node.host.run(|| knarr_network::reset().unwrap());
    assert_eq!(node.host.sh("ip -br link | grep -c knarr || true").trim(), "0");
    assert_eq!(node.host.sh("nft list ruleset"), "");
    assert_eq!(node.host.sh("ip route").trim(), "192.0.2.0/24 dev lan0 proto kernel scope link src 192.0.2.1");
    node.foundation.distrust();
    node.apply();
}
