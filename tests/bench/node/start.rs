//! How long a start takes, from the kernel's record of when the process began.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_tests::api::Api;
use knarr_tests::lab::Lab;
use knarr_tests::suite::OwnLab;
use knarr_tests::wait::until;
use serde_json::Value;

use knarr_tests::figures::{median, print};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;

/// Empty data directory to Node Ready.
pub(crate) fn cold() -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let own = OwnLab::new(&[])?;
        seconds.push(measure(own.lab(), |api| {
            let nodes = api.get("/api/v1/nodes")?;
            let conditions =
                nodes.pointer("/items/0/status/conditions").and_then(Value::as_array).context("no node")?;
            let is =
                |condition: &Value, field: &str, value: &str| condition.get(field).is_some_and(|seen| seen == value);
            let ready = |condition: &&Value| is(condition, "type", "Ready") && is(condition, "status", "True");
            conditions.iter().find(ready).context("not Ready").map(drop)
        })?);
    }
    print("cold_start_seconds", median(seconds), None, Some("<=2"));
    Ok(())
}

/// A killed server to the next answer.
pub(crate) fn restart(lab: &Lab) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        lab.kill_server()?;
        seconds.push(measure(lab, |api| {
            let answer = api.request("GET", "/readyz", &[], b"")?;
            anyhow::ensure!(answer.status == 200, "{answer}");
            api.get("/api/v1/namespaces/default").map(drop)
        })?);
    }
    print("restart_to_serving_seconds", median(seconds), None, Some("<=0.5"));
    Ok(())
}

/// Starts the lab's server; the seconds from the start of its process until `check` holds.
fn measure(lab: &Lab, check: impl Fn(&Api) -> Result<()> + Sync) -> Result<f64> {
    std::thread::scope(|scope| {
        let checked = scope.spawn(|| {
            // The kubeconfig of an earlier start may name a port that somebody else has taken meanwhile.
            let ask = || Api::admin(lab).and_then(|api| check(&api)).map_err(|error| format!("{error:#}"));
            until("the server is there", LIMIT, ask)?;
            uptime()
        });
        lab.up()?;
        let end = checked.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        Ok(end - started(lab.server_pid().context("the server has ended")?)?)
    })
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime")?;
    text.split(' ').next().and_then(|seconds| seconds.parse().ok()).context(text)
}

/// When a process began, in seconds since boot: field 22 of proc(5), in ticks of USER_HZ, which is 100.
fn started(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks: Option<f64> = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)?.parse().ok());
    Ok(ticks.context(stat)? / 100.0)
}
