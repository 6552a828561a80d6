//! What knarr takes when nothing happens.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;

use knarr_tests::figures::print;

const MINUTE: Duration = Duration::from_secs(60);

/// Pss and CPU of knarr's processes beside ten running pods, over a minute.
pub(crate) fn memory_and_cpu(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "resting")?;
    space.kubectl(&["create", "deployment", "rest", "--image=busybox:1", "--replicas=10", "--", "sleep", "100000"])?;
    space.rolled_out("deployment/rest")?;
    let pids = processes(lab)?;
    let before = total(&pids, cpu_seconds)?;
    std::thread::sleep(MINUTE);
    let after = total(&pids, cpu_seconds)?;
    print("memory_pss_megabytes", total(&pids, pss_megabytes)?, None, Some("<=60"));
    print("idle_cpu_percent", (after - before) / MINUTE.as_secs_f64() * 100.0, None, Some("<=1"));
    Ok(())
}

/// knarr's own processes in this lab: the server and the data plane.
fn processes(lab: &Lab) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let program = line.split('\0').next().and_then(|path| path.rsplit('/').next());
        if program == Some("knarr") && line.contains(lab.name()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

fn total(pids: &[u32], figure: fn(u32) -> Result<f64>) -> Result<f64> {
    pids.iter().map(|&pid| figure(pid)).sum()
}

fn pss_megabytes(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().context("Pss")?;
    Ok(kibibytes * 1024.0 / 1e6)
}

/// Fields 14 and 15 of proc(5), in ticks of USER_HZ, which is 100.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("ticks");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
