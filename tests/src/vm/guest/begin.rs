//! From the boot to a node that can run pods.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::asks::{kubectl, main_pid, user_task, wait_for_ready, wait_for_unit};
use super::{DATAPLANE, LONG, SERVER, SHORT, Story, UNITS};
use crate::command::run;

pub(super) fn unified(_: &mut Story) -> Result<()> {
    let kind = run("stat", &["--file-system", "--format=%T", "/sys/fs/cgroup"])?;
    ensure!(kind.trim() == "cgroup2fs", "/sys/fs/cgroup is a {kind}");
    let first = fs::read_to_string("/proc/1/comm")?;
    ensure!(first.trim() == "systemd", "process 1 is {first}");
    Ok(())
}

pub(super) fn boot(_: &mut Story) -> Result<()> {
    for unit in [SERVER, DATAPLANE] {
        run("systemctl", &["is-enabled", unit])?;
    }
    wait_for_unit(SERVER, LONG)?;
    kubectl(&["get", "--raw=/readyz"]).context("the unit is active, and the server not ready").map(drop)
}

pub(super) fn user_container(story: &mut Story) -> Result<()> {
    run("systemctl", &["start", "containerd.service"])?;
    run("ctr", &["images", "import", "/var/lib/knarr/images/busybox.tar"])?;
    run("ctr", &["run", "--detach", "docker.io/library/busybox:1", "users", "sleep", "1000000"])?;
    story.user_container = user_task()?;
    Ok(())
}

pub(super) fn ready(_: &mut Story) -> Result<()> {
    wait_for_ready()
}

pub(super) fn units(_: &mut Story) -> Result<()> {
    for unit in UNITS {
        wait_for_unit(unit, SHORT)?;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", main_pid(DATAPLANE)?))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let (users, capabilities) = (field("Uid:"), field("CapEff:"));
    ensure!(!users.is_empty() && !users.split_whitespace().any(|id| id == "0"), "the data plane is root: {users}");
    ensure!(capabilities.trim_matches('0').is_empty(), "the data plane has capabilities: {capabilities}");
    Ok(())
}
