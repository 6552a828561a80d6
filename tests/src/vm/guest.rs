//! The checks that run inside the machine, in the order of a user's first day. Each builds on those before it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::{output, run};
use crate::wait::until;

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
const LAN_ADDRESS: &str = "192.168.1.10";
const DNS: &str = "10.43.0.10";
const REPLICAS: usize = 3;

type Check = fn(&Story) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("systemd runs the machine, on cgroup v2", unified),
    ("the user's own containerd runs a container", user_container),
    ("knarr starts from its unit, enabled by its preset", start),
    ("the node becomes Ready", ready),
    ("containerd and the data plane run in units of their own, the latter unprivileged", units),
    ("the hello example rolls out", hello),
    ("the page answers on ClusterIP, NodePort and, from the LAN, on the LoadBalancer IP", pages),
    ("pods are in slices and scopes of the unified hierarchy", cgroups),
    ("pods resolve names", names),
    ("a restart of knarr restarts no pod, no containerd and no data plane", restart),
    ("a killed knarr comes back, and the pods with it", killed),
    ("a killed data plane answers again", dataplane_killed),
    ("a killed containerd comes back, and the pods stay", containerd_killed),
    ("with knarr stopped, pages and names are served", stopped),
    ("knarr reset leaves nothing behind, and the user's container alone", reset),
];

/// What earlier checks found out.
#[derive(Default)]
struct Story {
    user_container: RefCell<String>,
    load_balancer: RefCell<String>,
    pods: RefCell<BTreeSet<u32>>,
}

/// Runs the checks and reports on standard output; whether all held. After one that fails, the rest is not tried.
#[must_use]
pub fn run_all() -> bool {
    let story = Story::default();
    let mut broken = false;
    for (name, check) in CHECKS {
        if broken {
            say(&format!("{FAIL}{name}: not reached"));
            continue;
        }
        let start = Instant::now();
        match check(&story) {
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
    let looks: [&[&str]; 4] = [
        &["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=120", "--unit=knarr*"],
        &["systemctl", "--no-pager", "--lines=0", "status", SERVER, CONTAINERD, DATAPLANE],
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

fn unified(_: &Story) -> Result<()> {
    let kind = run("stat", &["--file-system", "--format=%T", "/sys/fs/cgroup"])?;
    ensure!(kind.trim() == "cgroup2fs", "/sys/fs/cgroup is a {kind}");
    let first = fs::read_to_string("/proc/1/comm")?;
    ensure!(first.trim() == "systemd", "process 1 is {first}");
    Ok(())
}

fn user_container(story: &Story) -> Result<()> {
    run("systemctl", &["start", "containerd.service"])?;
    run("ctr", &["images", "import", "/var/lib/knarr/images/busybox.tar"])?;
    run("ctr", &["run", "--detach", "docker.io/library/busybox:1", "users", "sleep", "1000000"])?;
    story.user_container.replace(user_task()?);
    Ok(())
}

/// The user's container as its containerd lists it, with its pid.
fn user_task() -> Result<String> {
    let tasks = run("ctr", &["tasks", "list"])?;
    let line = tasks.lines().find(|line| line.starts_with("users") && line.contains("RUNNING"));
    Ok(line.with_context(|| format!("the container does not run: {tasks}"))?.to_owned())
}

fn start(_: &Story) -> Result<()> {
    run("systemctl", &["preset", SERVER, DATAPLANE])?;
    for unit in [SERVER, DATAPLANE] {
        run("systemctl", &["is-enabled", unit])?;
    }
    run("systemctl", &["start", SERVER]).map(drop)
}

fn ready(_: &Story) -> Result<()> {
    until("the node is Ready", LONG, || kubectl(&["wait", "--for=condition=Ready", "node/node", "--timeout=60s"]))
        .map(drop)
}

fn units(_: &Story) -> Result<()> {
    for unit in UNITS {
        until(unit, SHORT, || text(run("systemctl", &["is-active", unit])))?;
    }
    let pid = main_pid(DATAPLANE)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    ensure!(!field("Uid:").split_whitespace().any(|id| id == "0"), "the data plane is root: {}", field("Uid:"));
    ensure!(
        field("CapEff:").chars().all(|digit| digit == '0'),
        "the data plane has capabilities: {}",
        field("CapEff:")
    );
    Ok(())
}

fn hello(story: &Story) -> Result<()> {
    kubectl_once(&["apply", "--filename=/usr/share/knarr/hello.yaml"])?;
    kubectl_once(&["rollout", "status", "deployment/hello", "--timeout=240s"])?;
    let pods = pods();
    ensure!(pods.len() == REPLICAS, "{} web servers run", pods.len());
    story.pods.replace(pods);
    Ok(())
}

fn pages(story: &Story) -> Result<()> {
    let field = |path: &str| kubectl(&["get", "service", "hello", &format!("--output=jsonpath={{{path}}}")]);
    let address = until("the Service has a LoadBalancer IP", SHORT, || {
        field(".status.loadBalancer.ingress[0].ip")
            .and_then(|ip| if ip.is_empty() { Err("none".into()) } else { Ok(ip) })
    })?;
    let ports =
        kubectl_once(&["get", "service", "hello", "--output=jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}"])?;
    let (cluster_ip, node_port) = ports.split_once(' ').context("no ports")?;
    page(&[], cluster_ip)?;
    page(&[], &format!("{LAN_ADDRESS}:{node_port}"))?;
    page(LAN, &format!("{LAN_ADDRESS}:{node_port}"))?;
    page(LAN, &address)?;
    story.load_balancer.replace(address);
    Ok(())
}

fn cgroups(story: &Story) -> Result<()> {
    for pid in story.pods.borrow().iter() {
        let path = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let expected = "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod";
        ensure!(path.starts_with(expected) && path.trim_end().ends_with(".scope"), "a pod is in {path}");
    }
    Ok(())
}

fn names(_: &Story) -> Result<()> {
    // One name to the end: nslookup of busybox does not search.
    let name = "hello.default.svc.cluster.local";
    until("a pod resolves a name", SHORT, || kubectl(&["exec", "deployment/hello", "--", "nslookup", name])).map(drop)
}

fn restart(story: &Story) -> Result<()> {
    let before = [main_pid(CONTAINERD)?, main_pid(DATAPLANE)?];
    run("systemctl", &["restart", SERVER])?;
    settled(story)?;
    let after = [main_pid(CONTAINERD)?, main_pid(DATAPLANE)?];
    ensure!(before == after, "containerd and data plane were {before:?} and are {after:?}");
    Ok(())
}

fn killed(story: &Story) -> Result<()> {
    kill_main(SERVER)?;
    settled(story)
}

fn dataplane_killed(_: &Story) -> Result<()> {
    kill_main(DATAPLANE)?;
    until("a name is answered", SHORT, name_from_node).map(drop)
}

fn containerd_killed(story: &Story) -> Result<()> {
    kill_main(CONTAINERD)?;
    until("containerd is back", SHORT, || text(run("systemctl", &["is-active", CONTAINERD])))?;
    settled(story)
}

fn stopped(story: &Story) -> Result<()> {
    run("systemctl", &["stop", SERVER])?;
    for unit in [CONTAINERD, DATAPLANE] {
        run("systemctl", &["is-active", unit])?;
    }
    page(LAN, &story.load_balancer.borrow())?;
    name_from_node().map_err(anyhow::Error::msg)?;
    same_pods(story)
}

fn reset(story: &Story) -> Result<()> {
    run("systemctl", &["start", SERVER])?;
    run("knarr", &["reset"])?;
    let left = pods();
    ensure!(left.is_empty(), "web servers run on: {left:?}");
    for unit in UNITS {
        let state = Command::new("systemctl").args(["is-active", unit]).output()?;
        ensure!(!state.status.success(), "{unit} still runs");
    }
    for path in ["/var/lib/knarr", "/run/knarr", "/sys/fs/cgroup/kubepods.slice"] {
        ensure!(!fs::exists(path)?, "{path} is left");
    }
    let tables = run("nft", &["list", "tables"])?;
    ensure!(!tables.contains("knarr"), "nft tables are left: {tables}");
    let links = run("ip", &["-brief", "link"])?;
    ensure!(!links.contains("knarr"), "links are left: {links}");
    let task = user_task()?;
    ensure!(
        task == *story.user_container.borrow(),
        "the user's container was {:?} and is {task:?}",
        story.user_container
    );
    Ok(())
}

/// The server answers, the node is Ready, and the pods are those that ran before.
fn settled(story: &Story) -> Result<()> {
    until("the server answers", LONG, || kubectl(&["get", "--raw=/readyz"]))?;
    until("the node is Ready", LONG, || kubectl(&["wait", "--for=condition=Ready", "node/node", "--timeout=60s"]))?;
    same_pods(story)?;
    let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let counts = kubectl_once(&["get", "pods", "--selector=app=hello", restarts])?;
    ensure!(counts.split_whitespace().eq(["0"; REPLICAS]), "restarts of the pods: {counts}");
    Ok(())
}

fn same_pods(story: &Story) -> Result<()> {
    let (before, now) = (story.pods.borrow(), pods());
    ensure!(*before == now, "the web servers were {before:?} and are {now:?}");
    page(LAN, &story.load_balancer.borrow())
}

/// The web servers of the example.
fn pods() -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"httpd\0"))).collect()
}

/// Before a command: run it on the LAN's second host.
const LAN: &[&str] = &["ip", "netns", "exec", "lan"];

fn page(place: &[&str], address: &str) -> Result<()> {
    let url = format!("http://{address}/");
    let words = [place, &["busybox", "wget", "-q", "-T", "5", "-O", "-", &url]].concat();
    let (program, arguments) = words.split_first().context("no command")?;
    let body = until(&url, SHORT, || text(run(program, arguments)))?;
    ensure!(body.contains("Hello from knarr"), "{url}: {body}");
    Ok(())
}

fn name_from_node() -> Result<String, String> {
    text(run("busybox", &["nslookup", "hello.default.svc.cluster.local", DNS]))
}

fn main_pid(unit: &str) -> Result<u32> {
    let pid = run("systemctl", &["show", "--property=MainPID", "--value", unit])?.trim().parse()?;
    ensure!(pid != 0, "{unit} does not run");
    Ok(pid)
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

fn kubectl(arguments: &[&str]) -> Result<String, String> {
    text(kubectl_once(arguments))
}

fn kubectl_once(arguments: &[&str]) -> Result<String> {
    output(Command::new("kubectl").args(arguments))
}

fn text(result: Result<String>) -> Result<String, String> {
    result.map_err(|error| format!("{error:#}"))
}

#[allow(clippy::print_stdout, reason = "standard output is the line to the host")]
fn say(line: &str) {
    println!("{line}");
}
