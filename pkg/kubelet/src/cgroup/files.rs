//! Making, limiting and removing groups through the cgroup file system.

use std::io;
use std::path::{Path, PathBuf};

use super::Limits;

/// The period of every CPU quota, in microseconds.
pub(crate) const PERIOD: i64 = 100_000;

/// One mounted v1 hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    pub(crate) mount: PathBuf,
    pub(crate) controllers: Vec<String>,
}

impl Hierarchy {
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// The hierarchies of this host.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    V1(Vec<Hierarchy>),
    V2(PathBuf),
}

impl Tree {
    pub(crate) fn unified(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    fn mounts(&self) -> Vec<&Path> {
        match self {
            Self::V1(hierarchies) => hierarchies.iter().map(|hierarchy| hierarchy.mount.as_path()).collect(),
            Self::V2(mount) => vec![mount],
        }
    }

    /// Whether what a group may swap can be limited: the kernel counts it, and v2 hands the controller down to the group.
    pub(crate) fn limits_swap(&self, path: &str) -> bool {
        match self {
            Self::V1(hierarchies) => hierarchies
                .iter()
                .filter(|hierarchy| hierarchy.has("memory"))
                .any(|hierarchy| below(&hierarchy.mount, path).join("memory.memsw.limit_in_bytes").exists()),
            Self::V2(mount) => below(mount, path).join("memory.swap.max").exists(),
        }
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.mounts().iter().any(|mount| below(mount, path).is_dir())
    }

    /// Makes a group with its limits. Only hierarchies that limit something are touched.
    pub(crate) fn make(&self, path: &str, limits: &Limits) -> io::Result<()> {
        match self {
            Self::V1(hierarchies) => {
                for hierarchy in hierarchies {
                    let settings = v1_settings(hierarchy, limits);
                    if hierarchy.has("cpu") || hierarchy.has("memory") || hierarchy.has("pids") {
                        let group = below(&hierarchy.mount, path);
                        std::fs::create_dir_all(&group)?;
                        write_all(&group, settings)?;
                    }
                }
                Ok(())
            }
            Self::V2(mount) => {
                let group = below(mount, path);
                std::fs::create_dir_all(&group)?;
                delegate(mount, path)?;
                write_all(&group, v2_settings(limits))
            }
        }
    }

    /// Moves a process into a group in every hierarchy.
    pub(crate) fn place(&self, path: &str, pid: u32) -> io::Result<()> {
        for mount in self.mounts() {
            let group = below(mount, path);
            std::fs::create_dir_all(&group)?;
            inherit_cpuset(mount, path)?;
            std::fs::write(group.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Removes a group and all below it, in every hierarchy.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        for mount in self.mounts() {
            remove_tree(&below(mount, path))?;
        }
        Ok(())
    }

    /// The names of the groups below `path`, in all hierarchies.
    pub(crate) fn children(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for mount in self.mounts() {
            for entry in entries(&below(mount, path))? {
                names.extend(entry.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
        }
        Ok(names)
    }
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// The directories in a group; none when the group is not there.
fn entries(group: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => Ok(found?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()),
    }
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for child in entries(group)? {
        remove_tree(&child)?;
    }
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", group.display())))
        }
        _ => Ok(()),
    }
}

fn write_all(group: &Path, settings: Vec<(&'static str, String)>) -> io::Result<()> {
    for (file, value) in settings {
        let path = group.join(file);
        std::fs::write(&path, &value)
            .map_err(|error| io::Error::new(error.kind(), format!("{} = {value}: {error}", path.display())))?;
    }
    Ok(())
}

fn v1_settings(hierarchy: &Hierarchy, limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if hierarchy.has("cpu") {
        settings.extend(limits.cpu_shares.map(|shares| ("cpu.shares", shares.to_string())));
        if let Some(quota) = limits.cpu_quota {
            settings.push(("cpu.cfs_period_us", PERIOD.to_string()));
            settings.push(("cpu.cfs_quota_us", quota.to_string()));
        }
    }
    if hierarchy.has("memory") {
        settings.extend(limits.memory.map(|bytes| ("memory.limit_in_bytes", bytes.to_string())));
    }
    if hierarchy.has("pids") {
        settings.extend(limits.pids.map(|count| ("pids.max", count.to_string())));
    }
    settings
}

fn v2_settings(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    settings.extend(limits.cpu_shares.map(|shares| ("cpu.weight", weight(shares).to_string())));
    settings.extend(limits.cpu_quota.map(|quota| match quota {
        ..=0 => ("cpu.max", format!("max {PERIOD}")),
        quota => ("cpu.max", format!("{quota} {PERIOD}")),
    }));
    settings.extend(limits.memory.map(|bytes| ("memory.max", bytes.to_string())));
    settings.extend(limits.pids.map(|count| ("pids.max", count.to_string())));
    settings
}

/// v1's shares (2..262144, usual 1024) as v2's weight (1..10000, usual 100), by the quadratic formula of newer runtimes,
/// which maps the usual to the usual (<https://github.com/opencontainers/cgroups/pull/20>).
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        shares => {
            #[allow(clippy::cast_precision_loss, reason = "at most 262143")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

/// v2: hands every controller that the root has down to the parent of `path`.
fn delegate(mount: &Path, path: &str) -> io::Result<()> {
    let mut group = mount.to_owned();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for part in parts {
        let available = std::fs::read_to_string(group.join("cgroup.controllers"))?;
        let enabled = std::fs::read_to_string(group.join("cgroup.subtree_control"))?;
        let enabled: Vec<&str> = enabled.split_whitespace().collect();
        for controller in available.split_whitespace().filter(|name| !enabled.contains(name)) {
            // One at a time: a controller that cannot be handed down (cpu beside real-time tasks) must not stop the others.
            if let Err(error) = std::fs::write(group.join("cgroup.subtree_control"), format!("+{controller}")) {
                tracing::debug!("{}: +{controller}: {error}", group.display());
            }
        }
        group.push(part);
    }
    Ok(())
}

/// v1: a new cpuset group has no CPUs; a process can enter only once it has its parent's.
fn inherit_cpuset(mount: &Path, path: &str) -> io::Result<()> {
    if !mount.join("cpuset.cpus").exists() {
        return Ok(());
    }
    let mut group = mount.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let parent = group.clone();
        group.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if std::fs::read_to_string(group.join(file))?.trim().is_empty() {
                std::fs::write(group.join(file), std::fs::read_to_string(parent.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_quadratic_formula() {
        for (shares, expect) in
            [(0, 0), (1, 1), (2, 1), (102, 17), (1024, 100), (10_240, 639), (262_144, 10_000), (999_999, 10_000)]
        {
            assert_eq!(weight(shares), expect, "{shares} shares");
        }
    }

    #[test]
    fn limits_become_files() {
        let limits = Limits { cpu_shares: Some(1024), cpu_quota: Some(50_000), memory: Some(1 << 20), pids: Some(5) };
        let hierarchy = |names: &[&str]| Hierarchy {
            mount: PathBuf::new(),
            controllers: names.iter().map(|&name| name.into()).collect(),
        };
        let text = |settings: Vec<(&str, String)>| {
            settings.iter().map(|(file, value)| format!("{file}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            text(v1_settings(&hierarchy(&["cpu", "cpuacct"]), &limits)),
            "cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000"
        );
        assert_eq!(text(v1_settings(&hierarchy(&["memory"]), &limits)), "memory.limit_in_bytes=1048576");
        assert_eq!(text(v2_settings(&limits)), "cpu.weight=100 cpu.max=50000 100000 memory.max=1048576 pids.max=5");
        assert_eq!(text(v2_settings(&Limits { cpu_quota: Some(-1), ..Limits::default() })), "cpu.max=max 100000");
    }

    #[test]
    fn an_absent_group_is_removed_already() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::V2(directory.path().into());
        std::fs::create_dir_all(directory.path().join("a/b/c")).unwrap();
        assert_eq!(tree.children("/a").unwrap(), ["b"]);
        tree.remove("/a/b").unwrap();
        tree.remove("/a/b").unwrap();
        assert_eq!(tree.children("/a").unwrap(), [""; 0]);
    }
}
