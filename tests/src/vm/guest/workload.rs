//! Pods, their limits, their pages and names.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::asks::{NAME, NODE_ADDRESS, Place, http, kubectl, page, text, web_servers};
use super::{SHORT, Story};
use crate::command::{output, run};
use crate::wait::until;

/// Of the hello example.
pub(super) const REPLICAS: usize = 3;
/// What `limited.yaml` asks for, as the kernel writes it.
const FILES: [&str; 2] = ["memory.max", "cpu.max"];
const LIMITS: &str = "67108864\n25000 100000\n";

pub(super) fn hello(story: &mut Story) -> Result<()> {
    kubectl(&["apply", "--filename=/usr/share/knarr/hello.yaml"])?;
    kubectl(&["rollout", "status", "deployment/hello", "--timeout=240s"])?;
    story.pods = web_servers();
    ensure!(story.pods.len() == REPLICAS, "{} web servers run", story.pods.len());
    Ok(())
}

pub(super) fn pages(story: &mut Story) -> Result<()> {
    let field = |path: &str| kubectl(&["get", "service", "hello", &format!("--output=jsonpath={{{path}}}")]);
    story.load_balancer =
        until("the Service has a LoadBalancer IP", SHORT, || match field(".status.loadBalancer.ingress[0].ip") {
            Ok(ip) if ip.is_empty() => Err("none".to_owned()),
            other => text(other),
        })?;
    let cluster_ip = http(&field(".spec.clusterIP")?)?;
    let node_port = field(".spec.ports[0].nodePort")?.parse().context("no node port")?;
    page(Place::Node, cluster_ip)?;
    page(Place::Node, SocketAddr::new(NODE_ADDRESS, node_port))?;
    page(Place::Lan, SocketAddr::new(NODE_ADDRESS, node_port))?;
    page(Place::Lan, http(&story.load_balancer)?)
}

pub(super) fn cgroups(story: &mut Story) -> Result<()> {
    for pid in &story.pods {
        let path = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let expected = "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod";
        ensure!(path.starts_with(expected) && path.trim_end().ends_with(".scope"), "a pod is in {path}");
    }
    Ok(())
}

pub(super) fn limits(_: &mut Story) -> Result<()> {
    kubectl(&["apply", "--filename=/usr/share/knarr/limited.yaml"])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/limited", "--timeout=120s"])?;
    let uid = kubectl(&["get", "pod", "limited", "--output=jsonpath={.metadata.uid}"])?.replace('-', "_");
    let slice = format!("/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice");
    are_in_force(&slice)?;
    run("systemctl", &["daemon-reload"])?;
    are_in_force(&slice).context("after a reload")?;
    // A pod that is deleted takes its slice along.
    kubectl(&["delete", "pod", "limited", "--grace-period=1", "--timeout=60s"])?;
    until("the pod's slice is gone", SHORT, || if Path::new(&slice).exists() { Err(&slice) } else { Ok(()) })
}

/// Looks at the pod's slice from the outside, and at the container's scope from the inside.
fn are_in_force(slice: &str) -> Result<()> {
    let paths = |group: &str| FILES.map(|file| format!("{group}/{file}"));
    let pod = output(Command::new("cat").args(paths(slice)))?;
    let inside = ["exec", "limited", "--", "cat"];
    let container = output(Command::new("kubectl").args(inside).args(paths("/sys/fs/cgroup")))?;
    ensure!([&pod, &container] == [LIMITS; 2], "{FILES:?}: pod {pod:?}, container {container:?}");
    Ok(())
}

pub(super) fn names(_: &mut Story) -> Result<()> {
    // One name to the end: nslookup of busybox does not search.
    let arguments = ["exec", "deployment/hello", "--", "nslookup", NAME];
    until("a pod resolves a name", SHORT, || text(kubectl(&arguments))).map(drop)
}
