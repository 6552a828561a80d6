//! What a reset may not leave.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::asks::user_task;
use super::{SERVER, Story};
use crate::command::run;

/// Those of a node.
const DIRECTORIES: [&str; 2] = ["/var/lib/knarr", "/run/knarr"];
/// In the lists of what systemd and the kernel hold, the words that only knarr's entries have.
const WORDS: [&str; 8] = ["knarr", "kubepods", "cri-containerd", "k8s.io", "cni-", "10.42.", "10.43.", "192.168.1.240"];
/// Commands that print such a list. Each shows a running node.
const LISTS: &[&[&str]] = &[
    &["cat", "/proc/self/mountinfo"],
    &["nft", "list", "ruleset"],
    &["lsns", "--type=net", "--noheadings", "--output=NSFS,COMMAND"],
    &["ip", "-details", "link"],
    &["ip", "address"],
    &["ip", "route", "show", "table", "all"],
    &["find", "/sys/fs/cgroup", "-type", "d"],
    &["ls", "/var/lib/cni/results"],
    &["ps", "-e", "-o", "args="],
    // Not those that systemd only knows of, because their files are there.
    &["systemctl", "list-units", "--all", "--plain", "--no-legend", "--state=active,activating,failed"],
];

pub(super) fn reset(story: &mut Story) -> Result<()> {
    run("systemctl", &["start", SERVER])?;
    for list in LISTS {
        ensure!(!traces_in(list)?.is_empty(), "`{}` shows nothing of a running node", list.join(" "));
    }
    run("knarr", &["reset"])?;
    let left = traces()?;
    ensure!(left.is_empty(), "left: {left:#?}");
    let task = user_task()?;
    ensure!(task == story.user_container, "the user's container was {:?} and is {task:?}", story.user_container);
    Ok(())
}

/// Whatever of the node can still be seen.
fn traces() -> Result<Vec<String>> {
    let mut found = Vec::new();
    found.extend(DIRECTORIES.into_iter().filter(|path| Path::new(path).exists()).map(str::to_owned));
    for list in LISTS {
        found.extend(traces_in(list)?);
    }
    let bound = fs::read_to_string("/proc/net/unix")?;
    let shims = fs::read_dir("/run/containerd/s")?.flatten().map(|entry| entry.path().display().to_string());
    found.extend(shims.filter(|path| !bound.contains(path)).map(|path| format!("{path}: its shim has ended")));
    Ok(found)
}

fn traces_in(list: &[&str]) -> Result<Vec<String>> {
    let (program, arguments) = list.split_first().context("no command")?;
    let lines = run(program, arguments)?;
    let ours = lines.lines().filter(|line| WORDS.iter().any(|word| line.contains(word)));
    Ok(ours.map(|line| format!("{}: {}", list.join(" "), line.trim())).collect())
}
