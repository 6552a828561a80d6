//! Labs side by side, one run after the other; nothing of them stays.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use knarr_tests::command::run;
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::suite::OwnLab;
use knarr_tests::wait::until;

use crate::world::{addresses, containers, world};

/// Whatever of a lab can still be seen on the machine.
fn traces(name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let directories = [
        format!("/var/lib/{name}"),
        format!("/run/{name}"),
        format!("/run/netns/{name}-node"),
        format!("/run/netns/{name}-lan"),
    ];
    found.extend(directories.into_iter().filter(|path| Path::new(path).exists()));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for line in mounts.lines() {
        if line.contains(name) {
            found.push(line.to_owned());
        }
        let mut fields = line.split(" - ");
        let point = fields.next().and_then(|head| head.split(' ').nth(4)).unwrap_or_default();
        if fields.next().is_some_and(|tail| tail.starts_with("cgroup")) {
            found.extend(below(Path::new(point), name, 3));
        }
    }
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // It may have ended meanwhile.
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if path.join("exe").exists() && line.contains(name) {
            found.push(format!("{}: {line}", path.display()));
        }
    }
    for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        if fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(name)) {
            found.push(entry.path().display().to_string());
        }
    }
    found.extend(run("nft", &["list", "tables"])?.lines().filter(|line| line.contains("knarr")).map(str::to_owned));
    found.extend(run("ip", &["-brief", "link"])?.lines().filter(|line| line.contains("knarr")).map(str::to_owned));
    Ok(found)
}

/// Folders below `root` with that name as a part of theirs, down to a depth.
fn below(root: &Path, name: &str, depth: usize) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found = Vec::new();
    for path in folders.map(|entry| entry.path()) {
        if path.to_string_lossy().contains(name) {
            found.push(path.display().to_string());
        } else if depth > 0 {
            found.extend(below(&path, name, depth - 1));
        }
    }
    found
}

pub(crate) fn side_by_side(lab: &Lab) -> Result<()> {
    let space = world(lab)?;
    let before = containers(&space)?;
    let own = OwnLab::new(&[])?;
    let other = own.lab();
    let foreign = traces("no-such-lab")?;
    for round in 0..2 {
        own.up()?;
        let inside = Space::new(other, "default-two")?;
        inside.kubectl(&["create", "deployment", "web", "--image=busybox:1", "--replicas=2", "--", "sleep", "1000"])?;
        inside.kubectl(&["expose", "deployment/web", "--port=80", "--type=NodePort"])?;
        inside.rolled_out("deployment/web")?;
        inside.keep();
        let nodes = [lab, other].map(|lab| lab.kubectl_output(&["get", "nodes", "-o", "name"]));
        ensure!(matches!(&nodes, [Ok(one), Ok(two)] if one != two), "{nodes:?}");
        other.reset()?;
        let found = traces(other.name())?;
        ensure!(found == foreign, "round {round}: {found:#?}");
        other.reset()?;
    }
    ensure!(containers(&space)? == before, "the first lab's pods were touched");
    addresses(&space).map(drop)
}

/// Runs of this very program that do not come to their end: one is told to end, the other one has no say.
pub(crate) fn ended_runs(lab: &Lab) -> Result<()> {
    let foreign = traces("no-such-lab")?;
    for signal in ["TERM", "KILL"] {
        let mut run_of_tests = Command::new(std::env::current_exe()?);
        run_of_tests.args(["--exact", "killed_dataplane_is_back_at_once"]).env_remove("KNARR_KEEP_LAB");
        let mut process = run_of_tests.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut told = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut line = String::new();
        told.read_line(&mut line)?;
        let name = line.split([' ', ',']).find(|word| word.starts_with("kt-"));
        let name = name.with_context(|| format!("no lab in {line:?}"))?;
        ensure!(traces(name)? != foreign, "{name} has no traces");
        run("kill", &["-s", signal, &process.id().to_string()])?;
        process.wait()?;
        if signal == "KILL" {
            // The next run.
            drop(OwnLab::new(&[])?);
        }
        // What the run had started may still be asking the server that is no more.
        until("nothing is left", POD, || match traces(name) {
            Ok(found) if found == foreign => Ok(()),
            other => Err(format!("after {signal}: {other:#?}")),
        })?;
    }
    ensure!(lab.server_pid().is_some(), "a lab in use was reset");
    Ok(())
}
