//! knarr's cgroups, in every hierarchy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use knarr_kubelet::cgroup::slice_of_pods;

use super::folders;
use crate::systemd;

/// Cgroups below the root that are knarr's own where it makes them itself.
const NAMES: [&str; 2] = ["kubepods", "containerd"];

/// Knarr's cgroups in every mounted hierarchy: those below the root, and that of its units.
pub(super) fn find(root: &str, units: Option<&str>) -> Result<Vec<PathBuf>> {
    let mounts = fs::read("/proc/self/mounts").context("cannot read the mounts")?;
    // Somebody else's mount point may be no UTF-8; those of cgroups are.
    let mounts = String::from_utf8_lossy(&mounts);
    let (_, slice) = slice_of_pods(root);
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| Path::new(path))
    });
    let below = hierarchies.flat_map(|mount| {
        let own = mount.join(root.trim_start_matches('/'));
        let slices = std::iter::once(slice.trim_start_matches('/')).chain(units).map(|slice| mount.join(slice));
        NAMES.map(|name| own.join(name)).into_iter().chain(slices)
    });
    Ok(below.filter(|path| path.is_dir()).collect())
}

/// A slice is systemd's, who would make it anew.
pub(super) fn remove(cgroups: &[PathBuf], root: &str) -> Result<()> {
    let (slice, path) = slice_of_pods(root);
    if cgroups.iter().any(|cgroup| cgroup.ends_with(path.trim_start_matches('/'))) {
        systemd::stop_slice(&slice)?;
    }
    cgroups.iter().try_for_each(|path| remove_tree(path))
}

fn remove_tree(path: &Path) -> Result<()> {
    for child in folders(path)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
