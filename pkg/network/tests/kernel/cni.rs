//! The CNI plugin between real namespaces.

use std::path::Path;

use crate::lab::{Directory, Host, eventually};
use knarr_network::cni::{self, Command, Config, Failure, Request};
use serde_json::{Value, json};

/// One node whose pods are namespaces.
struct Node {
    host: Host,
    directory: Directory,
}

impl Node {
    fn new() -> Self {
        Self { host: Host::new("node"), directory: Directory::new() }
    }

    fn call(
        &self,
        command: Command,
        container: &str,
        pod: Option<&Host>,
        more: Value,
    ) -> Result<Option<Value>, Failure> {
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "knarr", "type": "knarr",
            "stateDir": self.directory.0, "subnets": ["10.42.0.0/24"], "mtu": 1500,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = Request {
            command,
            container: container.into(),
            netns: pod.map(Host::path),
            link: "eth0".into(),
            config: serde_json::from_value::<Config>(config).unwrap(),
        };
        self.host.run(|| cni::answer(&request))
    }

    fn add(&self, container: &str, pod: &Host) -> String {
        let answer = self.call(Command::Add, container, Some(pod), json!({})).unwrap().unwrap();
        answer["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32").to_owned()
    }

    fn del(&self, container: &str, pod: Option<&Host>) {
        assert_eq!(self.call(Command::Del, container, pod, json!({})), Ok(None));
    }

    fn pod_links(&self) -> usize {
        self.host.sh("ip -br link").lines().filter(|line| line.starts_with("knarr-")).count()
    }
}

#[test]
fn pods_reach_each_other_and_the_node_under_their_own_addresses() {
    let (node, a, b) = (Node::new(), Host::new("a"), Host::new("b"));
    let (ip_a, ip_b) = (node.add("a", &a), node.add("b", &b));
    assert_eq!((ip_a.as_str(), ip_b.as_str()), ("10.42.0.2", "10.42.0.3"));
    let _server = b.serve(80);
    assert_eq!(a.ask(format!("{ip_b}:80")), Ok(ip_a.clone()));
    assert_eq!(b.ask(format!("{ip_b}:80")), Ok(ip_b.clone()));
    assert_eq!(node.host.ask(format!("{ip_b}:80")), Ok("10.42.0.1".into()));
    assert_eq!(b.ask("127.0.0.1:80"), Ok("127.0.0.1".into()));
    assert_eq!(node.call(Command::Check, "a", Some(&a), json!({})), Ok(None));
    a.sh("ip addr flush dev eth0");
    assert_eq!(node.call(Command::Check, "a", Some(&a), json!({})).unwrap_err().code(), Failure::CHECK);
}

#[test]
fn del_is_complete_repeatable_and_needs_no_namespace() {
    let (node, a) = (Node::new(), Host::new("a"));
    node.add("a", &a);
    assert_eq!(node.pod_links(), 1);
    node.del("a", Some(&a));
    assert_eq!(node.pod_links(), 0);
    node.del("a", Some(&a));
    node.add("a", &a);
    drop(a);
    node.del("a", None);
    node.del("never added", None);
    assert_eq!(node.pod_links(), 0);
    assert_eq!(std::fs::read_dir(&node.directory.0).unwrap().count(), 1, "only the last address taken is remembered");
}

#[test]
fn an_address_rests_and_add_may_be_repeated() {
    let (node, a, b) = (Node::new(), Host::new("a"), Host::new("b"));
    assert_eq!(node.add("a", &a), "10.42.0.2");
    assert_eq!(node.add("a", &a), "10.42.0.3");
    assert_eq!(node.add("b", &b), "10.42.0.4");
    assert_eq!(node.pod_links(), 2);
}

#[test]
fn plugins_that_run_at_once_do_not_disturb_each_other() {
    let node = Node::new();
    let pods: Vec<Host> = (0..8).map(|number| Host::new(&format!("p{number}"))).collect();
    let mut addresses: Vec<String> = std::thread::scope(|scope| {
        let add = |(number, pod)| {
            scope.spawn({
                let node = &node;
                move || node.add(&format!("c{number}"), pod)
            })
        };
        let running: Vec<_> = pods.iter().enumerate().map(add).collect();
        running.into_iter().map(|plugin| plugin.join().unwrap()).collect()
    });
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), pods.len());
}

#[test]
fn a_failed_add_leaves_nothing() {
    let (node, a) = (Node::new(), Host::new("a"));
    a.sh("ip link add eth0 type veth peer name other");
    let failure = node.call(Command::Add, "a", Some(&a), json!({})).unwrap_err();
    assert_eq!(failure.code(), Failure::IO);
    assert_eq!(node.pod_links(), 0);
    a.sh("ip link del eth0");
    node.add("a", &a);
}

#[test]
fn gc_keeps_who_is_named() {
    let (node, a, b) = (Node::new(), Host::new("a"), Host::new("b"));
    node.add("a", &a);
    node.add("b", &b);
    let valid = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]});
    assert_eq!(node.call(Command::Gc, "", None, valid), Ok(None));
    assert_eq!(node.pod_links(), 1);
    assert_eq!(node.call(Command::Check, "b", Some(&b), json!({})), Ok(None));
}

#[test]
fn a_host_port_leads_to_the_pod_until_del() {
    let (node, lan, a) = (Node::new(), Host::new("lan"), Host::new("a"));
    node.host.wire("lan0", "192.0.2.1/24", &lan, "192.0.2.9/24");
    node.host.sh("echo 1 > /proc/sys/net/ipv4/conf/lan0/forwarding");
    lan.sh("ip route add 10.42.0.0/24 via 192.0.2.1");
    let ports = json!({"runtimeConfig": {"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"}]}});
    node.call(Command::Add, "a", Some(&a), ports).unwrap();
    let _server = a.serve(80);
    assert_eq!(lan.ask("192.0.2.1:8080"), Ok("192.0.2.9".into()));
    assert_eq!(lan.ask("192.0.2.1:8081"), Ok("192.0.2.9".into()));
    assert_eq!(node.host.ask("192.0.2.1:8080"), Ok("192.0.2.1".into()));
    assert_eq!(a.ask("192.0.2.1:8080"), Ok("10.42.0.1".into()), "a pod reaches itself");
    node.del("a", None);
    assert_eq!(lan.ask("192.0.2.1:8080"), Err(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(node.host.sh("nft list map ip knarr-hostport any | grep -c 8080 || true").trim(), "0");
}

#[test]
fn loopback_is_answered_in_the_version_that_containerd_speaks() {
    let (node, pod) = (Node::new(), Host::new("pod"));
    pod.sh("ip link set lo down");
    let config = json!({"cniVersion": "0.3.1", "type": "loopback"});
    let answer = node.call(Command::Add, "a", Some(&pod), config.clone()).unwrap().unwrap();
    assert_eq!(answer["ips"][0]["version"], "4");
    assert_eq!(node.call(Command::Check, "a", Some(&pod), config.clone()), Ok(None));
    assert_eq!(node.call(Command::Del, "a", Some(&pod), config), Ok(None));
}

#[test]
fn reset_removes_every_trace_and_may_be_repeated() {
    let (node, a) = (Node::new(), Host::new("a"));
    let before = node.host.sh("ip -br link; ip addr; ip route; nft list ruleset");
    let ports = json!({"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "udp"}]}});
    node.call(Command::Add, "a", Some(&a), ports).unwrap();
    for _ in 0..2 {
        node.host.run(|| knarr_network::reset().unwrap());
        eventually(before.clone(), || node.host.sh("ip -br link; ip addr; ip route; nft list ruleset"));
    }
}

#[test]
fn installed_files_are_what_containerd_reads() {
    let directory = Directory::new();
    let install = cni::Install {
        data_dir: directory.0.clone(),
        binary: "/usr/bin/knarr".into(),
        subnets: vec!["10.42.7.0/24".parse().unwrap()],
        mtu: 1400,
    };
    assert!(!cni::is_installed(&directory.0));
    cni::install(&install).unwrap();
    cni::install(&install).unwrap();
    assert!(cni::is_installed(&directory.0));
    let network = std::fs::read(cni::conf_dir(&directory.0).join("10-knarr.conflist")).unwrap();
    let network: Value = serde_json::from_slice(&network).unwrap();
    let mut plugin = network["plugins"][0].clone();
    plugin.as_object_mut().unwrap().extend([("cniVersion".to_owned(), network["cniVersion"].clone())]);
    let config: Config = serde_json::from_value(plugin).unwrap();
    assert_eq!((config.subnets, config.mtu), (install.subnets, 1400));
    let mut plugins: Vec<_> = files(&cni::bin_dir(&directory.0));
    plugins.sort();
    assert_eq!(plugins, ["knarr", "loopback"]);
}

fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
