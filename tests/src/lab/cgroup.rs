//! The cgroup under which everything of a lab's node lives, in every mounted hierarchy.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::until;

/// The roots of the mounted hierarchies: one on a cgroup v2 machine, one per controller on v1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(path))
    });
    Ok(roots.collect())
}

/// Below the lab's cgroup, where its own processes are: on v2 a cgroup with processes has no children.
const LEAF: &str = "node";

/// Makes the lab's cgroup everywhere, with a leaf for the node's own processes.
pub(super) fn make(name: &str) -> Result<()> {
    for root in hierarchies()? {
        let own = root.join(name);
        make_one(&root, &own)?;
        make_one(&own, &own.join(LEAF))?;
    }
    Ok(())
}

/// A new `cpuset` starts empty on v1 and takes no process before it is filled.
fn make_one(parent: &Path, own: &Path) -> Result<()> {
    fs::create_dir_all(own).with_context(|| format!("cannot make {}", own.display()))?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
        let empty = fs::read_to_string(own.join(file)).is_ok_and(|text| text.trim().is_empty());
        if empty && !inherited.trim().is_empty() {
            fs::write(own.join(file), inherited.trim()).with_context(|| format!("cannot fill {}", own.display()))?;
        }
    }
    Ok(())
}

/// Moves a process into the lab's cgroup; what it starts follows.
pub(super) fn attach(name: &str, pid: u32) -> Result<()> {
    for root in hierarchies()? {
        let file = root.join(name).join(LEAF).join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .with_context(|| format!("cannot move process {pid} into {}", file.display()))?;
    }
    Ok(())
}

/// Removes the lab's cgroups once their processes have ended.
pub(super) fn remove(name: &str) -> Result<()> {
    for root in hierarchies()? {
        let own = root.join(name);
        until("the lab's cgroup is empty", Duration::from_secs(30), || {
            remove_tree(&own).map_err(|error| format!("{}: {error}", own.display()))
        })?;
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}
