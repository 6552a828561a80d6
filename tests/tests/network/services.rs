//! Pods and Services from everywhere.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use knarr_tests::lab::{Host, LAN_ADDRESS, Lab, NODE_ADDRESS};
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;
use knarr_tests::web::fetch;

use crate::servers::{
    LIMIT, answering, cluster_ip as address_of, node_port as port_of, serve_datagrams, servers, service, until_who,
    who, who_from_pod,
};

pub(crate) fn hello_example(lab: &Lab) -> Result<()> {
    let space = Space::existing(lab, "default");
    lab.kubectl_output(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello.yaml")])?;
    space.rolled_out("deployment/hello")?;
    let address = crate::servers::load_balancer(&space, "hello")?;
    let page = until("the page", POD, || {
        lab.on(Host::Lan, move || fetch(address, "/", LIMIT)).map_err(|error| format!("{error:#}"))
    })?;
    ensure!(page == "<h1>Hello from knarr</h1>\n", "{page}");
    let told = until("an Event tells of the address", POD, || {
        let told = space.kubectl(&["get", "events", "--field-selector=involvedObject.kind=Service"]);
        let told = told.map_err(|error| format!("{error:#}"))?;
        if told.contains("IPAllocated") && told.contains("service/hello") { Ok(told) } else { Err(told) }
    })?;
    ensure!(!told.contains("Warning"), "the pool comes before who needs it: {told}");
    lab.kubectl_output(&["delete", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello.yaml")])?;
    let deleted = Instant::now();
    until("the pods end", POD, || match space.pods("app=hello") {
        Ok(pods) if pods.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    // Their grace period is 30 seconds.
    ensure!(deleted.elapsed() < Duration::from_secs(20), "they ended after {:?}", deleted.elapsed());
    until("the address is given up", POD, || {
        match lab.on(Host::Lan, move || fetch(address, "/", Duration::from_secs(1))) {
            Err(_) => Ok(()),
            Ok(page) => Err(page),
        }
    })
}

fn pod_address(space: &Space<'_>, pod: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(space.field(&format!("pod/{pod}"), ".status.podIP")?.parse()?, 8080))
}

pub(crate) fn pods_reach_each_other(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    let (single, client) = (pod_address(&space, "single")?, pod_address(&space, "client")?);
    let (pod, seen) = who_from_pod(&space, "client", single)?;
    ensure!(pod == "single" && seen.contains(&client.ip().to_string()), "{pod} saw {seen}, the client is {client}");
    let (pod, seen) = who(lab, Host::Node, single)?;
    ensure!(pod == "single" && seen.contains("10.42."), "the node reaches pods by its bridge: {pod} {seen}");
    ensure!(single.ip() != client.ip());
    let links = space.exec("client", &["ip", "route"])?;
    ensure!(links.contains("default via "), "a pod has a default route: {links}");
    Ok(())
}

pub(crate) fn pods_reach_the_lan(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    let routes = knarr_tests::command::output(lab.on_node("ip")?.args(["route", "show", "default"]))?;
    ensure!(routes.is_empty(), "the lab has no default route, and none is needed: {routes}");
    let serving = lab.spawn_on(Host::Lan, || {
        let listener = TcpListener::bind((LAN_ADDRESS, 8099))?;
        let (_, peer) = listener.accept()?;
        Ok(peer.ip().to_string())
    });
    until("the LAN is reached", POD, || {
        space
            .exec("client", &["sh", "-c", &format!("echo | nc -w 2 {LAN_ADDRESS} 8099")])
            .map_err(|error| format!("{error:#}"))
    })?;
    let peer = serving.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    ensure!(peer == NODE_ADDRESS, "masqueraded to the node's address: {peer}");
    Ok(())
}

pub(crate) fn cluster_ip(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "inside", "who", "")?;
    let address = address_of(&space, "inside")?;
    until_who(lab, Host::Node, address)?;
    let pods = answering(lab, Host::Node, address, 60)?;
    ensure!(pods.len() == 3, "spread over all pods: {pods:?}");
    let client = pod_address(&space, "client")?.ip().to_string();
    for _ in 0..5 {
        let (_, seen) = who_from_pod(&space, "client", address)?;
        ensure!(seen.contains(&client), "no masquerading between pods: {seen}, the client is {client}");
    }
    let version = space.exec("client", &["sh", "-c", "echo | nc -w 3 10.43.0.1 443 && echo reached"])?;
    ensure!(version.contains("reached"), "the API server's Service: {version}");
    Ok(())
}

pub(crate) fn hairpin(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "self", "single", "")?;
    let address = address_of(&space, "self")?;
    until_who(lab, Host::Node, address)?;
    for _ in 0..3 {
        let (pod, _) = who_from_pod(&space, "single", address).context("a pod through its own Service")?;
        ensure!(pod == "single");
    }
    Ok(())
}

pub(crate) fn node_port(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "port", "who", "type: NodePort")?;
    let address = port_of(&space, "port")?;
    until_who(lab, Host::Lan, address)?;
    let pods = answering(lab, Host::Lan, address, 60)?;
    ensure!(pods.len() == 3, "spread over all pods: {pods:?}");
    ensure!(who(lab, Host::Node, address).is_ok(), "the node reaches its own node port");
    who_from_pod(&space, "client", address).context("a pod through the node port")?;
    space.kubectl(&["delete", "service", "port"])?;
    until("the port is closed", POD, || match who(lab, Host::Lan, address) {
        Err(_) => Ok(()),
        Ok(answer) => Err(format!("{answer:?}")),
    })
}

pub(crate) fn udp(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    space.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: datagrams}, spec: {type: NodePort, selector: {app: who}, \
         ports: [{port: 53, protocol: UDP, targetPort: 5353}]}}",
    )?;
    // busybox has no server of datagrams, so the test itself serves in the pods' networks.
    let needed = Arc::new(());
    let mut serving = Vec::new();
    let mut pods = BTreeSet::new();
    for pod in space.get(&["pods", "-l", "app=who"])?["items"].as_array().into_iter().flatten() {
        let (uid, name) = (&pod["metadata"]["uid"], &pod["metadata"]["name"]);
        let (uid, name) = (uid.as_str().context("no UID")?, name.as_str().context("no name")?.to_owned());
        pods.insert(name.clone());
        let wanted = Arc::downgrade(&needed);
        let serve = move || serve_datagrams(5353, &wanted, |_| name.clone().into_bytes());
        serving.push(lab.spawn_in_pod(uid, serve)?);
    }
    let (inside, outside) = (address_of(&space, "datagrams")?.ip(), port_of(&space, "datagrams")?);
    let ask = |host, address: SocketAddr| {
        lab.on(host, move || {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.send_to(b"who?\n", address)?;
            let mut buffer = [0; 100];
            let (count, from) = socket.recv_from(&mut buffer)?;
            ensure!(from == address, "{from} answered instead of {address}");
            Ok(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned())
        })
    };
    for (host, address) in [(Host::Node, SocketAddr::new(inside, 53)), (Host::Lan, outside)] {
        let answer =
            until(&format!("{address} answers"), POD, || ask(host, address).map_err(|error| format!("{error:#}")))?;
        ensure!(pods.contains(&answer), "{answer:?} is none of {pods:?}");
    }
    drop(needed);
    serving.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a server panicked"))?)
}
