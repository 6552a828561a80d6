//! Pods that say who they are and who asks, shared by all tests of this suite.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use knarr_tests::lab::{Host, Lab};
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;
use knarr_tests::web::fetch;

/// The namespace that they are in.
pub(crate) const NAME: &str = "servers";

/// Every request shorter than this: a lost packet shows as a failure, not as a second of waiting.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// A web server whose page names the pod and the client.
const SPEC: &str = r#"{terminationGracePeriodSeconds: 1, containers: [{name: c, image: "busybox:1", command: [/bin/sh, -c, "
  mkdir -p /w/cgi-bin;
  printf '#!/bin/sh\\nprintf \"Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n\"; echo \"$(hostname) $REMOTE_ADDR\"\\n' > /w/cgi-bin/who;
  chmod +x /w/cgi-bin/who;
  exec httpd -f -p 8080 -h /w"],
  readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}"#;

const MANIFESTS: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: who}, spec: {replicas: 3, selector: {matchLabels: {app: who}},
  template: {metadata: {labels: {app: who}}, spec: SPEC}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: single, labels: {app: single}}, spec: SPEC}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {terminationGracePeriodSeconds: 1,
  containers: [{name: c, image: "busybox:1", command: [sleep, "100000"]}]}}
"#;

const POOL: &str = r#"
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: suite, namespace: metallb-system},
  spec: {addresses: ["192.168.1.200-192.168.1.230"]}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: suite, namespace: metallb-system}, spec: {}}
"#;

/// The namespace with its pods running.
pub(crate) fn servers(lab: &Lab) -> Result<Space<'_>> {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let make = || {
        let space = Space::new(lab, NAME)?;
        Space::existing(lab, "metallb-system").apply(POOL)?;
        space.apply(&MANIFESTS.replace("SPEC", SPEC))?;
        space.rolled_out("deployment/who")?;
        space.wait("condition=Ready", &["pod/single", "pod/client"])?;
        space.keep();
        Ok::<_, anyhow::Error>(())
    };
    MADE.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(|error| anyhow!(error))?;
    Ok(Space::existing(lab, NAME))
}

/// Makes a Service over port 8080 of the pods with the label `app`; `spec` is the rest of its spec, as YAML flow. Its
/// address, if it wants one, is of the suite's own pool: the example's goes with the example.
pub(crate) fn service(space: &Space<'_>, name: &str, app: &str, spec: &str) -> Result<()> {
    let comma = if spec.is_empty() { "" } else { ", " };
    space
        .apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{metallb.io/address-pool: suite}}}}, \
             spec: {{selector: {{app: {app}}}, \
             ports: [{{port: 80, targetPort: 8080}}]{comma}{spec}}}}}"
        ))
        .map(drop)
}

/// The address and port 80 of a Service.
pub(crate) fn cluster_ip(space: &Space<'_>, name: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(space.field(&format!("service/{name}"), ".spec.clusterIP")?.parse()?, 80))
}

/// The node port of a Service on the node's LAN address.
pub(crate) fn node_port(space: &Space<'_>, name: &str) -> Result<SocketAddr> {
    let port = space.field(&format!("service/{name}"), ".spec.ports[0].nodePort")?.parse().context("no node port")?;
    Ok(SocketAddr::new(knarr_tests::lab::NODE_ADDRESS.parse()?, port))
}

/// The LoadBalancer IP of a Service, once it has one.
pub(crate) fn load_balancer(space: &Space<'_>, name: &str) -> Result<SocketAddr> {
    let address =
        space.until_field(&format!("service/{name}"), ".status.loadBalancer.ingress[0].ip", |ip| !ip.is_empty())?;
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, 80))
}

/// Who answers, as a host of the lab sees it: the pod's name, and the client's address as the pod sees it.
pub(crate) fn who(lab: &Lab, host: Host, address: SocketAddr) -> Result<(String, String)> {
    let body = lab.on(host, move || fetch(address, "/cgi-bin/who", LIMIT))?;
    let (pod, client) = body.trim().split_once(' ').with_context(|| format!("answer {body:?}"))?;
    Ok((pod.to_owned(), client.to_owned()))
}

/// Like [`who`], until it answers.
pub(crate) fn until_who(lab: &Lab, host: Host, address: SocketAddr) -> Result<(String, String)> {
    until(&format!("{address} answers the {host:?}"), POD, || {
        who(lab, host, address).map_err(|error| format!("{error:#}"))
    })
}

/// The pods that answer `count` requests, one after the other, without a failure.
pub(crate) fn answering(lab: &Lab, host: Host, address: SocketAddr, count: usize) -> Result<BTreeSet<String>> {
    (0..count).map(|_| Ok(who(lab, host, address)?.0)).collect()
}

/// Who answers, as a pod sees it.
pub(crate) fn who_from_pod(space: &Space<'_>, pod: &str, address: SocketAddr) -> Result<(String, String)> {
    // A static glibc has no name services in an image from scratch: wget ends in a fault, nc looks nothing up.
    let ask = "printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 5";
    let told = space.exec(pod, &["sh", "-c", &format!("{ask} {} {}", address.ip(), address.port())])?;
    let body = told.rsplit("\r\n").next().unwrap_or_default();
    let (pod, client) = body.trim().split_once(' ').with_context(|| format!("answer {body:?}"))?;
    Ok((pod.to_owned(), client.to_owned()))
}

/// Answers datagrams until `wanted` is dropped.
pub(crate) fn serve_datagrams(port: u16, wanted: &Weak<()>, answer: impl Fn(&[u8]) -> Vec<u8>) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("cannot serve datagrams")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 1500];
    while wanted.strong_count() > 0 {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        socket.send_to(&answer(buffer.get(..count).unwrap_or_default()), from)?;
    }
    Ok(())
}
