//! What runs on the node while it is hurt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;

const NAME: &str = "world";

const MANIFESTS: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1, containers: [
    {name: c, image: "busybox:1", command: [sh, -c, "mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w"],
     readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: LoadBalancer, selector: {app: web}, sessionAffinity: ClientIP,
  ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: resolver}, spec: {terminationGracePeriodSeconds: 1, containers: [
  {name: c, image: "busybox:1", command: [sh, -c, "while :; do
    if nslookup -type=a web.world.svc.cluster.local >/dev/null; then echo resolved; else echo FAILED; fi; sleep 0.1; done"]}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: scaled}, spec: {replicas: 1, selector: {matchLabels: {app: scaled}},
  template: {metadata: {labels: {app: scaled}}, spec: {terminationGracePeriodSeconds: 1, containers: [
    {name: c, image: "busybox:1", command: [sleep, "100000"]}]}}}}
"#;

const POOL: &str = r#"
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: suite, namespace: metallb-system},
  spec: {addresses: ["192.168.1.240-192.168.1.250"]}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: suite, namespace: metallb-system}, spec: {}}
"#;

/// The namespace with everything running.
pub(crate) fn world(lab: &Lab) -> Result<Space<'_>> {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let make = || {
        let space = Space::new(lab, NAME)?;
        Space::existing(lab, "metallb-system").apply(POOL)?;
        space.apply(MANIFESTS)?;
        space.rolled_out("deployment/web")?;
        space.rolled_out("deployment/scaled")?;
        space.wait("condition=Ready", &["pod/resolver"])?;
        until("names are resolved", POD, || match space.kubectl(&["logs", "resolver", "--tail=3"]) {
            Ok(told) if told == "resolved\nresolved\nresolved\n" => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
        space.keep();
        Ok::<_, anyhow::Error>(())
    };
    MADE.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(|error| anyhow!(error))?;
    Ok(Space::existing(lab, NAME))
}

/// Every container of every pod: its name, id and count of restarts.
pub(crate) fn containers(space: &Space<'_>) -> Result<BTreeMap<String, String>> {
    let list = space.get(&["pods"])?;
    let pods = list["items"].as_array().context("items")?;
    let identity = |pod: &serde_json::Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, format!("{} {} {}", pod["metadata"]["uid"], status["containerID"], status["restartCount"]))
    };
    Ok(pods.iter().map(identity).collect())
}

/// The Service's addresses: LoadBalancer, node port, cluster IP.
pub(crate) fn addresses(space: &Space<'_>) -> Result<[SocketAddr; 3]> {
    let ip = space.until_field("service/web", ".status.loadBalancer.ingress[0].ip", |ip| !ip.is_empty())?;
    let port = space.field("service/web", ".spec.ports[0].nodePort")?;
    let cluster = space.field("service/web", ".spec.clusterIP")?;
    let node = knarr_tests::lab::NODE_ADDRESS;
    Ok([format!("{ip}:80").parse()?, format!("{node}:{port}").parse()?, format!("{cluster}:80").parse()?])
}

/// How often the resolver pod resolved, and failed to.
pub(crate) fn resolved(space: &Space<'_>) -> Result<(usize, usize)> {
    // Right after a start the node's own port may not be there yet.
    let told = until("the log", POD, || space.kubectl(&["logs", "resolver"]).map_err(|error| format!("{error:#}")))?;
    Ok((told.matches("resolved").count(), told.matches("FAILED").count()))
}
