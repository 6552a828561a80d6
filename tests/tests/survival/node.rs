//! Parts of the node go away, alone or all at once.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use knarr_tests::command::{output, run};
use knarr_tests::dns::resolve;
use knarr_tests::lab::{Host, Lab};
use knarr_tests::space::POD;
use knarr_tests::wait::until;
use knarr_tests::web::{fetch, fetch_from};

use crate::world::{addresses, containers, resolved, world};

/// A host of the LAN that comes later.
const NEW_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 33);

const LIMIT: Duration = Duration::from_secs(3);
const CLUSTER_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10));

/// The processes of this lab whose program has that name and whose arguments hold that word.
pub(crate) fn processes(lab: &Lab, program: &str, word: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let is_program = line.split('\0').next().is_some_and(|path| path.rsplit('/').next() == Some(program));
        // Every program of a lab has one of its paths as an argument, and labs of tests have random names.
        if is_program && line.contains(lab.name()) && line.contains(word) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn only(lab: &Lab, program: &str, word: &str) -> Result<u32> {
    match processes(lab, program, word)?.as_slice() {
        [pid] => Ok(*pid),
        pids => bail!("{program} {word}: {pids:?}"),
    }
}

/// Asks cluster DNS for the Service's address, over a socket of the node.
fn resolves(lab: &Lab) -> Result<()> {
    lab.on(Host::Node, || resolve("web.world.svc.cluster.local", CLUSTER_DNS, Duration::from_millis(100)))
}

fn all_answer(lab: &Lab, [balanced, port, cluster]: [SocketAddr; 3]) -> Result<()> {
    for (host, address) in [(Host::Lan, balanced), (Host::Lan, port), (Host::Node, cluster)] {
        lab.on(host, move || fetch(address, "/", LIMIT)).with_context(|| format!("{address} from the {host:?}"))?;
    }
    resolves(lab)
}

pub(crate) fn stopped_server(lab: &Lab) -> Result<()> {
    let space = world(lab)?;
    let (before, addresses) = (containers(&space)?, addresses(&space)?);
    let start = Instant::now();
    lab.stop()?;
    ensure!(start.elapsed() < Duration::from_secs(10), "it ended after {:?}", start.elapsed());
    all_answer(lab, addresses)?;
    lab.up()?;
    all_answer(lab, addresses)?;
    ensure!(containers(&space)? == before, "{:?}, before {before:?}", containers(&space)?);
    space.exec("resolver", &["true"]).map(drop)
}

pub(crate) fn server_down(lab: &Lab) -> Result<()> {
    let space = world(lab)?;
    let (before, addresses) = (containers(&space)?, addresses(&space)?);
    let (_, failed_before) = resolved(&space)?;
    lab.kill_server()?;
    let down = Instant::now();
    // A host that never spoke to these addresses: its neighbour table is empty, its own address is new.
    output(lab.on_lan("ip").args(["address", "add", &format!("{NEW_HOST}/24"), "dev", "lan0"]))?;
    let mut rounds = 0;
    while down.elapsed() < Duration::from_secs(60) {
        output(lab.on_lan("ip").args(["neighbour", "flush", "all"]))?;
        let answered = lab.on(Host::Lan, move || fetch_from(NEW_HOST, addresses[0], "/", LIMIT));
        answered
            .and_then(|_| all_answer(lab, addresses))
            .with_context(|| format!("{:?} after the kill", down.elapsed()))?;
        rounds += 1;
        std::thread::park_timeout(Duration::from_millis(500));
    }
    ensure!(rounds > 20, "{rounds} rounds");
    output(lab.on_lan("ip").args(["address", "del", &format!("{NEW_HOST}/24"), "dev", "lan0"]))?;
    lab.up()?;
    let (_, failed) = resolved(&space)?;
    ensure!(failed == failed_before, "{} look-ups of the pod failed", failed - failed_before);
    until("the pods are as before", POD, || match containers(&space) {
        Ok(now) if now == before => Ok(()),
        other => Err(format!("{other:?}, before {before:?}")),
    })?;
    space.wait("condition=Ready", &["node", "--all"])
}

pub(crate) fn dataplane_killed(lab: &Lab) -> Result<()> {
    world(lab)?;
    for _ in 0..3 {
        resolves(lab)?;
        let pid = only(lab, "knarr", "dataplane")?;
        run("kill", &["-s", "KILL", &pid.to_string()])?;
        until("another process answers", Duration::from_secs(1), || {
            let seen = only(lab, "knarr", "dataplane").and_then(|now| resolves(lab).map(|()| now));
            match seen {
                Ok(now) if now != pid => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
    }
    Ok(())
}

pub(crate) fn containerd_killed(lab: &Lab) -> Result<()> {
    let space = world(lab)?;
    let (before, addresses) = (containers(&space)?, addresses(&space)?);
    let pid = only(lab, "containerd", "")?;
    run("kill", &["-s", "KILL", &pid.to_string()])?;
    all_answer(lab, addresses)?;
    until("containerd is back", Duration::from_secs(20), || match only(lab, "containerd", "") {
        Ok(now) if now != pid => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    until("commands run again", POD, || space.exec("resolver", &["true"]).map_err(|error| format!("{error:#}")))?;
    space.kubectl(&["run", "later", "--image=busybox:1", "--command", "--", "sleep", "1000"])?;
    space.wait("condition=Ready", &["pod/later"])?;
    space.kubectl(&["delete", "pod", "later", "--grace-period=1"])?;
    let after = containers(&space)?;
    ensure!(after == before, "{after:?}, before {before:?}");
    Ok(())
}

pub(crate) fn reboot(lab: &Lab) -> Result<()> {
    let space = world(lab)?;
    let (before, old) = (containers(&space)?, addresses(&space)?);
    lab.power_off()?;
    ensure!(processes(lab, "containerd-shim-runc-v2", "")?.is_empty(), "shims outlive the power cut");
    lab.up()?;
    until("every pod has a new container", POD, || {
        let after = containers(&space).map_err(|error| format!("{error:#}"))?;
        let same = before.keys().eq(after.keys());
        let new = after.iter().all(|(pod, identity)| before.get(pod) != Some(identity) && !identity.contains("null"));
        if same && new { Ok(()) } else { Err(format!("{after:?}, before {before:?}")) }
    })?;
    space.wait("condition=Ready", &["pods", "--all"])?;
    let after = containers(&space)?;
    let uid = |identity: &String| identity.split(' ').next().map(str::to_owned);
    ensure!(
        before.iter().all(|(pod, identity)| after.get(pod).and_then(uid) == uid(identity)),
        "the same pods: {after:?}"
    );
    ensure!(addresses(&space)? == old, "the Service keeps its addresses");
    until("everything answers", POD, || all_answer(lab, old).map_err(|error| format!("{error:#}")))
}
