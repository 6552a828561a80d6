//! LoadBalancer addresses on the LAN.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use knarr_tests::command::output;
use knarr_tests::lab::{Host, Lab};
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;

use crate::servers::{answering, load_balancer, servers, service, until_who};

/// What nobody should have to wait longer for, also on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The hardware address of `lan0` on one of the hosts.
fn hardware_address(mut ip: std::process::Command) -> Result<String> {
    let told = output(ip.args(["-json", "link", "show", "lan0"]))?;
    let links: serde_json::Value = serde_json::from_str(&told)?;
    links[0]["address"].as_str().map(str::to_owned).context(told)
}

pub(crate) fn from_the_lan(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "balanced", "who", "type: LoadBalancer")?;
    let address = load_balancer(&space, "balanced")?;
    let ip = address.ip().to_string();
    ensure!(ip.starts_with("192.168.1.2"), "an address of the pool: {ip}");
    until_who(lab, Host::Lan, address)?;
    output(lab.on_lan("ip").args(["neighbour", "flush", "all"]))?;
    let pods = answering(lab, Host::Lan, address, 60)?;
    ensure!(pods.len() == 3, "spread over all pods: {pods:?}");
    let neighbour = output(lab.on_lan("ip").args(["neighbour", "show", &ip]))?;
    let expected = hardware_address(lab.on_node("ip")?)?;
    ensure!(neighbour.contains(&expected), "learned by ARP: {neighbour:?}, the node's is {expected}");
    until_who(lab, Host::Node, address).context("from the node itself")?;
    let (pod, _) = crate::servers::who_from_pod(&space, "client", address).context("from a pod")?;
    ensure!(pod.starts_with("who-"));
    let node = space.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses}"])?;
    ensure!(!node.contains(&ip), "it is no address of the node: {node}");
    let table = space.kubectl(&["get", "service", "balanced", "--no-headers"])?;
    ensure!(table.contains(&ip) && table.contains("LoadBalancer"), "{table}");

    space.kubectl(&["delete", "service", "balanced"])?;
    until("nobody answers ARP for it", POD, || {
        let asked = || -> Result<String> {
            output(lab.on_lan("ip").args(["neighbour", "flush", "all"]))?;
            lab.on(Host::Lan, move || {
                Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop).is_ok())
            })?;
            output(lab.on_lan("ip").args(["neighbour", "show", &ip]))
        };
        match asked() {
            Ok(learned) if !learned.is_empty() && !learned.contains("lladdr") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

pub(crate) fn only_its_ports(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "ports", "who", "type: LoadBalancer")?;
    let address = load_balancer(&space, "ports")?;
    until_who(lab, Host::Lan, address)?;
    for port in [22, 6443, 8080, 10250] {
        let other = SocketAddr::new(address.ip(), port);
        let outcome = lab.on(Host::Lan, move || {
            Ok(TcpStream::connect_timeout(&other, Duration::from_secs(2)).map(drop).map_err(|error| error.kind()))
        })?;
        ensure!(outcome == Err(ErrorKind::ConnectionRefused), "{other}: {outcome:?}");
    }
    space.kubectl(&["delete", "service", "ports"]).map(drop)
}

pub(crate) fn in_use(lab: &Lab) -> Result<()> {
    const TAKEN: &str = "192.168.1.77";
    let space = servers(lab)?;
    output(lab.on_lan("ip").args(["address", "add", &format!("{TAKEN}/24"), "dev", "lan0"]))?;
    let holder = hardware_address(lab.on_lan("ip"))?;
    Space::existing(lab, "metallb-system").apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: taken, namespace: metallb-system}}, \
         spec: {{addresses: [{TAKEN}/32], autoAssign: false}}}}"
    ))?;
    space.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: clash, annotations: {metallb.io/address-pool: taken}}, \
         spec: {type: LoadBalancer, selector: {app: who}, ports: [{port: 80, targetPort: 8080}]}}",
    )?;
    until("an Event names the holder", POD, || {
        let selector = "--field-selector=involvedObject.name=clash";
        let told = space.kubectl(&["get", "events", selector]).map_err(|error| format!("{error:#}"))?;
        if told.to_lowercase().contains(&holder) && told.contains(TAKEN) { Ok(()) } else { Err(told) }
    })?;
    let node = output(lab.on_node("ip")?.args(["address", "show", "to", TAKEN]))?;
    ensure!(node.is_empty(), "it is not taken: {node}");
    output(lab.on_lan("ip").args(["address", "del", &format!("{TAKEN}/24"), "dev", "lan0"]))?;
    let (freed, address) = (Instant::now(), SocketAddr::new(TAKEN.parse()?, 80));
    until_who(lab, Host::Lan, address).context("once it is free it is used")?;
    ensure!(freed.elapsed() < SOON, "it was used {:?} after it was free", freed.elapsed());
    space.kubectl(&["delete", "service", "clash"]).map(drop)
}

pub(crate) fn chosen(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    let make = |name: &str, annotations: &str| {
        space.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{{annotations}}}}}, \
             spec: {{type: LoadBalancer, selector: {{app: who}}, ports: [{{port: 80, targetPort: 8080}}]}}}}"
        ))
    };
    make("wanted", "metallb.io/loadBalancerIPs: 192.168.1.229")?;
    ensure!(load_balancer(&space, "wanted")?.ip().to_string() == "192.168.1.229");
    make("other", "")?;
    ensure!(load_balancer(&space, "other")?.ip().to_string() != "192.168.1.229");
    make("outside", "metallb.io/loadBalancerIPs: 10.9.9.9")?;
    until("an Event says why there is no address", POD, || {
        let told = space.kubectl(&["get", "events", "--field-selector=involvedObject.name=outside"]);
        let told = told.map_err(|error| format!("{error:#}"))?;
        if told.contains("AllocationFailed") { Ok(()) } else { Err(told) }
    })?;
    ensure!(space.field("service/outside", ".status.loadBalancer")? == "{}");
    // A Service of another implementation is left alone.
    space.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: foreign}, spec: {type: LoadBalancer, \
         loadBalancerClass: example.com/other, selector: {app: who}, ports: [{port: 80}]}}",
    )?;
    space.kubectl(&["patch", "service", "wanted", "--patch", r#"{"spec":{"type":"ClusterIP"}}"#])?;
    space.until_is("service/wanted", ".status.loadBalancer", "{}")?;
    ensure!(space.field("service/foreign", ".status.loadBalancer")? == "{}");
    space.kubectl(&["delete", "service", "wanted", "other", "outside", "foreign"]).map(drop)
}
