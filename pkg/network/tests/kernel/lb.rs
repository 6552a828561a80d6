//! Addresses of load balancers on a LAN.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use knarr_network::lb::{Holding, Place, Probed, announce, probe};
use knarr_network::netlink::{Link, Netlink};
use knarr_network::packet::{Arp, ArpSocket};

use crate::lab::{Host, eventually};
use crate::node::Node;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 240);

fn hold(node: &Host, place: Option<Place>) {
    let wanted: BTreeMap<IpAddr, Place> = place.map(|place| (VIP.into(), place)).into_iter().collect();
    let mut holding = Holding::new(vec!["10.43.0.0/16".parse().unwrap()]);
    node.block_on(async { holding.set(&wanted).await.unwrap() });
}

fn link(host: &Host, name: &str) -> Link {
    host.run(|| Netlink::open().unwrap().link(name).unwrap().unwrap())
}

fn asked(host: &Host, name: &str) -> Option<Probed> {
    asked_for(host, name, VIP)
}

fn asked_for(host: &Host, name: &str, ip: Ipv4Addr) -> Option<Probed> {
    let link = link(host, name);
    host.block_on(async { probe(&[link], ip).await.unwrap() })
}

fn only(interface: &str) -> Place {
    Place { interfaces: Some(BTreeSet::from([interface.to_owned()])), expires: None }
}

#[test]
fn the_kernel_answers_with_no_process_alive_until_it_is_told_not_to() {
    let node = Node::new();
    assert_eq!(asked(&node.lan, "lan0"), None);
    hold(&node.host, Some(Place::default()));
    // Nothing of what made it exists any more: neither socket nor task.
    let holder = Probed { link: "lan0".into(), mac: link(&node.host, "lan0").mac.unwrap() };
    assert_eq!(asked(&node.lan, "lan0"), Some(holder));
    hold(&node.host, Some(Place::default()));
    assert_eq!(node.host.sh("ip addr show to 192.0.2.240 | grep -c inet").trim(), "1");
    hold(&node.host, None);
    assert_eq!(asked(&node.lan, "lan0"), None);
    let dns = node.host.sh("ip -br addr show dev knarr0");
    assert!(dns.contains("10.43.0.10/32"), "what the node answers for otherwise stays: {dns}");
}

#[test]
fn it_is_never_the_source_of_what_the_node_sends() {
    let node = Node::new();
    hold(&node.host, Some(Place::default()));
    let _server = node.lan.serve(80);
    assert_eq!(node.host.ask("192.0.2.9:80"), Ok("192.0.2.1".into()));
    let (pod, _) = node.pod("pod");
    let _server = pod.serve(80);
    assert_eq!(node.host.ask("10.42.0.2:80"), Ok("10.42.0.1".into()));
}

#[test]
fn only_links_that_are_allowed_answer() {
    let node = Node::new();
    let other = Host::new("other");
    node.host.wire("lan1", "198.51.100.1/24", &other, "198.51.100.9/24");
    hold(&node.host, Some(Place::default()));
    assert!(asked(&node.lan, "lan0").is_some() && asked(&other, "lan1").is_some());
    hold(&node.host, Some(only("lan1")));
    assert!(asked(&node.lan, "lan0").is_none() && asked(&other, "lan1").is_some());
    hold(&node.host, Some(only("lan0")));
    assert!(asked(&node.lan, "lan0").is_some() && asked(&other, "lan1").is_none());
    assert!(asked_for(&node.lan, "lan0", Ipv4Addr::new(192, 0, 2, 1)).is_some(), "other addresses are not limited");
}

#[test]
fn a_link_that_answers_for_its_own_addresses_only_gets_it() {
    let node = Node::new();
    node.host.sh("echo 1 > /proc/sys/net/ipv4/conf/lan0/arp_ignore");
    hold(&node.host, Some(Place::default()));
    assert!(asked(&node.lan, "lan0").is_some());
    assert!(node.host.sh("ip -br addr show dev lan0").contains("192.0.2.240/32"));
    let _server = node.lan.serve(80);
    assert_eq!(node.host.ask("192.0.2.9:80"), Ok("192.0.2.1".into()), "it is no source there either");
    node.host.sh("echo 0 > /proc/sys/net/ipv4/conf/lan0/arp_ignore");
    hold(&node.host, Some(Place::default()));
    assert!(!node.host.sh("ip -br addr show dev lan0").contains("192.0.2.240"));
    assert!(asked(&node.lan, "lan0").is_some());
    node.host.run(|| knarr_network::reset().unwrap());
    assert!(asked(&node.lan, "lan0").is_none());
}

#[test]
fn a_claim_of_a_dead_node_ends_by_itself_and_a_living_one_renews_it() {
    let node = Node::new();
    let lease = |seconds| Place { interfaces: None, expires: Some(Duration::from_secs(seconds)) };
    hold(&node.host, Some(lease(600)));
    hold(&node.host, Some(lease(1)));
    assert!(asked(&node.lan, "lan0").is_some());
    eventually(None, || asked(&node.lan, "lan0"));
    hold(&node.host, Some(lease(1)));
    hold(&node.host, Some(Place::default()));
    let after = std::time::Instant::now() + Duration::from_millis(1500);
    eventually(true, || std::time::Instant::now() > after);
    assert!(asked(&node.lan, "lan0").is_some(), "it is permanent now");
}

#[test]
fn an_address_that_somebody_has_is_found_with_its_holder() {
    let node = Node::new();
    let lan = link(&node.host, "lan0");
    assert_eq!(asked(&node.host, "lan0"), None);
    node.lan.sh("ip addr add 192.0.2.240/24 dev lan0");
    let holder = Probed { link: "lan0".into(), mac: link(&node.lan, "lan0").mac.unwrap() };
    assert_eq!(asked(&node.host, "lan0"), Some(holder));
    assert_ne!(lan.mac, link(&node.lan, "lan0").mac);
}

#[test]
fn hosts_learn_where_an_address_has_moved() {
    let node = Node::new();
    node.lan.sh("ip neigh replace 192.0.2.240 lladdr 02:00:00:00:00:99 dev lan0 nud stale");
    let lan = link(&node.host, "lan0");
    let mac = lan.mac.unwrap();
    let announce = || {
        node.host.block_on(async {
            let all = announce(vec![lan.clone()], VIP);
            let _first_is_enough = tokio::time::timeout(Duration::from_millis(300), all).await;
        });
    };
    let heard = node.lan.block_on(async {
        let socket = ArpSocket::open(&link(&node.lan, "lan0")).unwrap();
        announce();
        let both = async { [socket.receive().await.unwrap(), socket.receive().await.unwrap()] };
        tokio::time::timeout(Duration::from_secs(2), both).await.unwrap()
    });
    assert_eq!(heard, [Arp::announcement(mac, VIP), Arp::unasked_reply(mac, VIP)]);
    assert!(node.lan.sh("ip neigh show 192.0.2.240").contains(&mac.to_string()));
}
