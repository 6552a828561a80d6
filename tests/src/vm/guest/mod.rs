//! The checks that run inside the machine, in the order of a user's first day. Each builds on those before it.

mod asks;
mod begin;
mod survival;
mod traces;
mod workload;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Begins the line of a check that held.
pub const PASS: &str = "PASS ";
/// Begins the line of a check that did not.
pub const FAIL: &str = "FAIL ";
/// The line after the last check.
pub const END: &str = "END";

/// For anything that takes a real machine seconds.
const LONG: Duration = Duration::from_secs(240);
/// For anything that takes a real machine no time.
const SHORT: Duration = Duration::from_secs(60);
const SERVER: &str = "knarr.service";
const CONTAINERD: &str = "knarr-containerd.service";
const DATAPLANE: &str = "knarr-dataplane.service";
const UNITS: [&str; 3] = [SERVER, CONTAINERD, DATAPLANE];

type Check = fn(&mut Story) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("systemd runs the machine, on cgroup v2", begin::unified),
    ("knarr comes with the boot, enabled by its preset, and serves when its unit is active", begin::boot),
    ("the user's own containerd runs a container", begin::user_container),
    ("the node becomes Ready", begin::ready),
    ("containerd and the data plane run in units of their own, the latter unprivileged", begin::units),
    ("the hello example rolls out", workload::hello),
    ("the page answers on ClusterIP, NodePort and, from the LAN, on the LoadBalancer IP", workload::pages),
    ("pods are in slices and scopes of the unified hierarchy", workload::cgroups),
    ("a pod's limits are in its cgroup files, and stay when systemd reloads", workload::limits),
    ("pods resolve names", workload::names),
    ("a restart of knarr restarts no pod, no containerd and no data plane", survival::restart),
    ("a killed knarr comes back, and the pods with it", survival::killed),
    ("a killed data plane answers again", survival::dataplane_killed),
    ("a killed containerd comes back, and the pods stay", survival::containerd_killed),
    ("with knarr stopped, pages and names are served", survival::stopped),
    ("knarr reset leaves nothing behind, and the user's container alone", traces::reset),
];

/// What earlier checks found out.
#[derive(Default)]
struct Story {
    /// The user's container, as its containerd lists it.
    user_container: String,
    /// The address of the hello example on the LAN.
    load_balancer: String,
    /// The web servers of the hello example.
    pods: BTreeSet<u32>,
}

/// Runs the checks and reports on standard output; whether all held. After one that fails, the rest is not tried.
#[must_use]
pub fn run_all() -> bool {
    let mut story = Story::default();
    let mut broken = false;
    for (name, check) in CHECKS {
        if broken {
            say(&format!("{FAIL}{name}: not reached"));
            continue;
        }
        let start = Instant::now();
        match check(&mut story) {
            Ok(()) => say(&format!("{PASS}{name} ({:.1} s)", start.elapsed().as_secs_f32())),
            Err(error) => {
                broken = true;
                say(&format!("{FAIL}{name}: {}", format!("{error:#}").replace('\n', " | ")));
                explain();
            }
        }
    }
    say(END);
    !broken
}

/// What a person would look at first.
fn explain() {
    let looks: [&[&str]; 6] = [
        &["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=120", "--unit=knarr.service"],
        &["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=40", "--unit=knarr-*"],
        &["systemctl", "--no-pager", "--lines=0", "status", SERVER, CONTAINERD, DATAPLANE],
        &["systemd-cgls", "--no-pager", "--full"],
        &["kubectl", "get", "nodes,pods,services", "--all-namespaces", "--output=wide", "--request-timeout=20s"],
        &["kubectl", "get", "events", "--all-namespaces", "--request-timeout=20s"],
    ];
    for look in looks {
        let Some((program, arguments)) = look.split_first() else { continue };
        say(&format!("  $ {}", look.join(" ")));
        match Command::new(program).args(arguments).output() {
            Ok(shown) => {
                let text = [shown.stdout, shown.stderr].concat();
                String::from_utf8_lossy(&text).lines().for_each(|line| say(&format!("    {line}")));
            }
            Err(error) => say(&format!("    {error}")),
        }
    }
}

#[allow(clippy::print_stdout, reason = "standard output is the line to the host")]
fn say(line: &str) {
    println!("{line}");
}
