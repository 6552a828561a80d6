//! What a Service's spec says about its traffic.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use knarr_tests::lab::{Host, LAN_ADDRESS, Lab, NODE_ADDRESS};
use knarr_tests::space::POD;
use knarr_tests::wait::until;
use knarr_tests::web::fetch;

use crate::servers::{LIMIT, answering, cluster_ip, load_balancer, node_port, servers, service, until_who};

/// Connecting is refused at once.
fn refused(lab: &Lab, host: Host, address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    let outcome =
        lab.on(host, move || Ok(TcpStream::connect_timeout(&address, LIMIT).map(drop).map_err(|error| error.kind())))?;
    let fast = start.elapsed() < Duration::from_secs(2);
    ensure!(
        outcome == Err(ErrorKind::ConnectionRefused) && fast,
        "{address} from the {host:?}: {outcome:?} after {:?}",
        start.elapsed()
    );
    Ok(())
}

pub(crate) fn rejected_without_endpoints(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "empty", "nobody", "type: LoadBalancer")?;
    for (host, address) in [
        (Host::Node, cluster_ip(&space, "empty")?),
        (Host::Lan, node_port(&space, "empty")?),
        // The LAN does not get so far: as with MetalLB, an address without endpoints is announced by nobody.
        (Host::Node, load_balancer(&space, "empty")?),
    ] {
        until("it is refused", POD, || refused(lab, host, address).map_err(|error| format!("{error:#}")))?;
    }
    space.kubectl(&["delete", "service", "empty"]).map(drop)
}

pub(crate) fn session_affinity(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "sticky", "who", "type: NodePort, sessionAffinity: ClientIP")?;
    for (host, address) in [(Host::Lan, node_port(&space, "sticky")?), (Host::Node, cluster_ip(&space, "sticky")?)] {
        until_who(lab, host, address)?;
        let pods = answering(lab, host, address, 20)?;
        ensure!(pods.len() == 1, "one client, one pod: {pods:?}");
    }
    Ok(())
}

pub(crate) fn traffic_policies(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "local", "who", "type: LoadBalancer, externalTrafficPolicy: Local")?;
    for address in [load_balancer(&space, "local")?, node_port(&space, "local")?] {
        let (_, client) = until_who(lab, Host::Lan, address)?;
        ensure!(client.contains(LAN_ADDRESS), "the client's address is kept: {client}");
    }
    let port = space.field("service/local", ".spec.healthCheckNodePort")?.parse().context("health check port")?;
    let health = SocketAddr::new(NODE_ADDRESS.parse()?, port);
    let body = until("the health check answers", POD, || {
        lab.on(Host::Lan, move || fetch(health, "/healthz", LIMIT)).map_err(|error| format!("{error:#}"))
    })?;
    let body: serde_json::Value = serde_json::from_str(&body)?;
    ensure!(body["localEndpoints"] == 3, "{body}");
    space.kubectl(&["delete", "service", "local"])?;

    service(&space, "internal", "who", "internalTrafficPolicy: Local")?;
    until_who(lab, Host::Node, cluster_ip(&space, "internal")?).map(drop)
}

pub(crate) fn source_ranges(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    service(&space, "fenced", "who", &format!("type: LoadBalancer, loadBalancerSourceRanges: [{LAN_ADDRESS}/32]"))?;
    let address = load_balancer(&space, "fenced")?;
    until_who(lab, Host::Lan, address).context("the LAN is in the range")?;
    let limit_to = |range: &str| {
        let patch = format!(r#"{{"spec":{{"loadBalancerSourceRanges":["{range}"]}}}}"#);
        space.kubectl(&["patch", "service", "fenced", "--patch", &patch])
    };
    limit_to("192.168.1.99/32")?;
    until("the LAN is shut out", POD, || {
        let connect = move || Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).map_err(|e| e.kind()));
        match lab.on(Host::Lan, connect) {
            Ok(Err(ErrorKind::TimedOut)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    until_who(lab, Host::Node, cluster_ip(&space, "fenced")?).context("ranges concern clients from outside")?;
    limit_to(&format!("{LAN_ADDRESS}/32"))?;
    until_who(lab, Host::Lan, address)?;
    space.kubectl(&["delete", "service", "fenced"]).map(drop)
}

pub(crate) fn endpoints_come_and_go(lab: &Lab) -> Result<()> {
    let space = servers(lab)?;
    space.kubectl(&["create", "deployment", "moving", "--image=knarr.io/examples/web:1"])?;
    space.rolled_out("deployment/moving")?;
    space.kubectl(&["expose", "deployment/moving", "--port=80"])?;
    let address = cluster_ip(&space, "moving")?;
    let answers = |address| lab.on(Host::Node, move || fetch(address, "/", Duration::from_secs(2)));
    until("it answers", POD, || answers(address).map_err(|error| format!("{error:#}")))?;
    space.kubectl(&["scale", "deployment/moving", "--replicas=0"])?;
    until("it is refused", POD, || refused(lab, Host::Node, address).map_err(|error| format!("{error:#}")))?;
    space.kubectl(&["scale", "deployment/moving", "--replicas=2"])?;
    until("it answers again", POD, || answers(address).map_err(|error| format!("{error:#}")))?;
    space.rolled_out("deployment/moving")?;
    // Pods that leave the set are replaced.
    space.kubectl(&["label", "pods", "-l", "app=moving", "app=left", "--overwrite"])?;
    until("it still answers", POD, || answers(address).map_err(|error| format!("{error:#}")))?;
    space.kubectl(&["delete", "service/moving", "deployment/moving"])?;
    space.kubectl(&["delete", "pods", "-l", "app=left", "--wait=false"])?;
    until("the address is gone", POD, || match answers(address) {
        Err(_) => Ok(()),
        Ok(answer) => Err(format!("{answer:?}")),
    })
}
