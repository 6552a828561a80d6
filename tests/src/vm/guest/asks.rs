//! What the checks ask the machine, the cluster and the LAN.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{LONG, SHORT};
use crate::command::{output, run};
use crate::wait::until;
use crate::{dns, netns, web};

/// The node, on the LAN.
pub(super) const NODE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));
/// A name of the hello example.
pub(super) const NAME: &str = "hello.default.svc.cluster.local";
const CLUSTER_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10));
/// The LAN's second host.
const LAN: &str = "/run/netns/lan";
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Where a client is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Node,
    Lan,
}

/// Waits until a client at that place gets the page of the hello example.
pub(super) fn page(place: Place, address: SocketAddr) -> Result<()> {
    let fetch = move || web::fetch(address, "/", ANSWER);
    let body = until(&format!("http://{address}/, from {place:?}"), SHORT, || {
        text(match place {
            Place::Node => fetch(),
            Place::Lan => netns::inside(PathBuf::from(LAN), fetch),
        })
    })?;
    ensure!(body.contains("Hello from knarr"), "http://{address}/: {body}");
    Ok(())
}

/// Port 80 of an address as the API writes it.
pub(super) fn http(address: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse().with_context(|| format!("{address:?} is no address"))?, 80))
}

/// Waits until cluster DNS knows the example, asked from the node. Nobody answers a question that came while it was down.
pub(super) fn resolve() -> Result<()> {
    let limit = Duration::from_secs(1);
    until("a name is answered", SHORT, || text(dns::resolve(NAME, CLUSTER_DNS, limit)))
}

pub(super) fn kubectl(arguments: &[&str]) -> Result<String> {
    output(Command::new("kubectl").args(arguments))
}

pub(super) fn wait_for_ready() -> Result<()> {
    let arguments = ["wait", "--for=condition=Ready", "node/node", "--timeout=60s"];
    until("the node is Ready", LONG, || text(kubectl(&arguments))).map(drop)
}

/// The web servers of the example, without the children that serve one connection each (a probe's, for example).
pub(super) fn web_servers() -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: BTreeSet<u32> = pids
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"httpd\0")))
        .collect();
    all.iter().copied().filter(|pid| parent(*pid).is_some_and(|parent| !all.contains(&parent))).collect()
}

/// The parent of a process; `None` when it has ended.
fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The user's container as its containerd lists it, with its pid.
pub(super) fn user_task() -> Result<String> {
    let tasks = run("ctr", &["tasks", "list"])?;
    let line = tasks.lines().find(|line| line.starts_with("users") && line.contains("RUNNING"));
    Ok(line.with_context(|| format!("the container does not run: {tasks}"))?.to_owned())
}

pub(super) fn wait_for_unit(unit: &str, limit: Duration) -> Result<()> {
    until(unit, limit, || text(run("systemctl", &["is-active", unit]))).map(drop)
}

pub(super) fn main_pid(unit: &str) -> Result<u32> {
    let pid = run("systemctl", &["show", "--property=MainPID", "--value", unit])?.trim().parse()?;
    ensure!(pid != 0, "{unit} does not run");
    Ok(pid)
}

/// For [`until`], which shows what was seen last.
pub(super) fn text<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{error:#}"))
}
