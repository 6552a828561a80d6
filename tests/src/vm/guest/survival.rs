//! Restarts, kills and stops that no pod, page or name may notice.

use anyhow::{Result, ensure};

use super::asks::{Place, http, kubectl, main_pid, page, resolve, text, wait_for_ready, wait_for_unit, web_servers};
use super::workload::REPLICAS;
use super::{CONTAINERD, DATAPLANE, LONG, SERVER, SHORT, Story};
use crate::command::run;
use crate::wait::until;

pub(super) fn restart(story: &mut Story) -> Result<()> {
    let before = [main_pid(CONTAINERD)?, main_pid(DATAPLANE)?];
    run("systemctl", &["restart", SERVER])?;
    settled(story)?;
    let after = [main_pid(CONTAINERD)?, main_pid(DATAPLANE)?];
    ensure!(before == after, "containerd and data plane were {before:?} and are {after:?}");
    Ok(())
}

pub(super) fn killed(story: &mut Story) -> Result<()> {
    kill_main(SERVER)?;
    settled(story)
}

pub(super) fn dataplane_killed(_: &mut Story) -> Result<()> {
    kill_main(DATAPLANE)?;
    resolve()
}

pub(super) fn containerd_killed(story: &mut Story) -> Result<()> {
    kill_main(CONTAINERD)?;
    wait_for_unit(CONTAINERD, SHORT)?;
    settled(story)
}

pub(super) fn stopped(story: &mut Story) -> Result<()> {
    run("systemctl", &["stop", SERVER])?;
    for unit in [CONTAINERD, DATAPLANE] {
        run("systemctl", &["is-active", unit])?;
    }
    resolve()?;
    same_pods(story)
}

/// The server answers, the node is Ready, and the pods are those that ran before.
fn settled(story: &Story) -> Result<()> {
    until("the server answers", LONG, || text(kubectl(&["get", "--raw=/readyz"])))?;
    wait_for_ready()?;
    same_pods(story)?;
    let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let counts = kubectl(&["get", "pods", "--selector=app=hello", restarts])?;
    ensure!(counts.split_whitespace().eq(["0"; REPLICAS]), "restarts of the pods: {counts}");
    Ok(())
}

fn same_pods(story: &Story) -> Result<()> {
    let (before, now) = (&story.pods, web_servers());
    ensure!(*before == now, "the web servers were {before:?} and are {now:?}");
    page(Place::Lan, http(&story.load_balancer)?)
}

/// Kills a unit's process, and waits until there is another.
fn kill_main(unit: &str) -> Result<()> {
    let before = main_pid(unit)?;
    run("kill", &["-KILL", &before.to_string()])?;
    until(&format!("{unit} runs again"), SHORT, || match main_pid(unit) {
        Ok(now) if now != before => Ok(()),
        Ok(now) => Err(format!("process {now}")),
        Err(error) => Err(format!("{error:#}")),
    })
}
