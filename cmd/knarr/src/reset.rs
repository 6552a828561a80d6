//! `knarr reset`: removes everything that knarr made on this machine.
//!
//! In this order: processes, mounts, kernel objects of the network, cgroups, CNI's notes, files. Whatever fails is reported at the end,
//! the rest is still done, and the command can be repeated.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli;

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where containerd's CNI library notes what it has set up, whatever its configuration says. A killed sandbox's notes stay.
const CNI_NOTES: &str = "/var/lib/cni/results";
/// Cgroups below the root that are knarr's own.
const CGROUPS: [&str; 3] = ["kubepods", "containerd", "kubepods.slice"];

/// Removes everything, and says what could not be removed.
pub(crate) fn run(arguments: &cli::Reset) -> Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "knarr reset needs root");
    let cli::Directories { data_dir, run_dir, .. } = &arguments.directories;
    let own: Vec<PathBuf> = [data_dir, run_dir].into_iter().filter(|path| path.exists()).cloned().collect();
    let cgroups = cgroups(&arguments.cgroup_root);
    let steps: [(&str, &dyn Fn() -> Result<()>); 6] = [
        ("processes", &|| end_processes(&own, &cgroups)),
        ("mounts", &|| unmount_below(&own)),
        ("network", &|| Ok(knarr_network::reset()?)),
        ("cgroups", &|| cgroups.iter().try_for_each(|path| remove_cgroup(path))),
        ("notes of CNI", &|| remove_notes(Path::new(CNI_NOTES), run_dir)),
        ("files", &|| own.iter().try_for_each(|path| remove_tree(path))),
    ];
    let mut failed = Vec::new();
    for (what, step) in steps {
        if let Err(error) = step() {
            failed.push(format!("{what}: {error:#}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not everything could be removed: {}", failed.join("; ")) }
}

/// Kills what runs in knarr's cgroups, and what was started with one of its directories as an argument: the server, the
/// data plane, containerd and its shims.
fn end_processes(own: &[PathBuf], cgroups: &[PathBuf]) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = processes(own, cgroups)?;
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("still running: {found:?}");
        }
        for pid in found {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot kill process {pid}")),
            }
        }
        // The kernel tells nobody but their parents when they are gone.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn processes(own: &[PathBuf], cgroups: &[PathBuf]) -> Result<Vec<Pid>> {
    let mut found: Vec<Pid> = Vec::new();
    for cgroup in cgroups {
        collect_members(cgroup, &mut found);
    }
    for entry in fs::read_dir("/proc").context("cannot list processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else {
            continue;
        };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = arguments.split(|&byte| byte == 0).map(String::from_utf8_lossy);
        let program = words.next().unwrap_or_default().into_owned();
        let is_ours = ["knarr", "containerd", "containerd-shim-runc-v2"]
            .contains(&Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default());
        let names_ours = words.any(|word| own.iter().any(|path| Path::new(&*word).starts_with(path)));
        if is_ours && names_ours && pid != Pid::this() {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn collect_members(cgroup: &Path, found: &mut Vec<Pid>) {
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).map(Pid::from_raw));
    for child in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_members(&child.path(), found);
        }
    }
}

/// Knarr's cgroups in every mounted hierarchy.
fn cgroups(root: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| Path::new(path).join(root.trim_start_matches('/')))
    });
    let below = hierarchies.flat_map(|root| CGROUPS.map(|name| root.join(name)));
    below.filter(|path| path.is_dir()).collect()
}

fn remove_cgroup(path: &Path) -> Result<()> {
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type()?.is_dir() {
            remove_cgroup(&child.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Unmounts everything below knarr's directories, the deepest first.
fn unmount_below(own: &[PathBuf]) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let below = |path: &PathBuf| own.iter().any(|own| path.starts_with(own) && path != own);
    let mut points: Vec<PathBuf> = mounts.lines().filter_map(mount_point).filter(below).collect();
    points.sort();
    for point in points.into_iter().rev() {
        match umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", point.display())),
        }
    }
    Ok(())
}

/// The second field of a line of `/proc/self/mounts`, where spaces stand as `\040`.
fn mount_point(line: &str) -> Option<PathBuf> {
    Some(line.split(' ').nth(1)?.replace("\\040", " ").into())
}

/// Removes the notes on sandboxes whose network namespaces were below `run_dir`: `knarr-ID-eth0` and, as all runtimes have
/// that network, `cni-loopback-ID-lo`.
fn remove_notes(notes: &Path, run_dir: &Path) -> Result<()> {
    let sandbox = format!("\"sandbox\":\"{}/", run_dir.display());
    for entry in fs::read_dir(notes).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_prefix("knarr-").and_then(|rest| rest.strip_suffix("-eth0")) else { continue };
        if fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(&sandbox)) {
            for path in [notes.join(format!("cni-loopback-{id}-lo")), entry.path()] {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Removes a tree without ever leaving its file system: what is mounted there is not ours to delete.
fn remove_tree(path: &Path) -> Result<()> {
    let device = fs::symlink_metadata(path)?.dev();
    remove_below(path, device)?;
    fs::remove_dir(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn remove_below(directory: &Path, device: u64) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            bail!("{} is on another file system", path.display());
        }
        let removed = if metadata.is_dir() {
            remove_below(&path, device)?;
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_lines() {
        let line = "tmpfs /var/lib/knarr/pods/a\\040b tmpfs rw 0 0";
        assert_eq!(mount_point(line), Some("/var/lib/knarr/pods/a b".into()));
    }

    #[test]
    fn notes_of_other_nodes_stay() {
        let notes = tempfile::tempdir().unwrap();
        let note = |name: &str, sandbox: &str| {
            let text = format!(r#"{{"result":{{"interfaces":[{{"name":"eth0","sandbox":"{sandbox}"}}]}}}}"#);
            fs::write(notes.path().join(name), text).unwrap();
        };
        note("knarr-a1-eth0", "/run/knarr/netns/cni-1");
        note("cni-loopback-a1-lo", "");
        note("knarr-b2-eth0", "/run/knarr-lab/netns/cni-2");
        note("cni-loopback-b2-lo", "");
        note("bridge-c3-eth0", "/run/knarr/netns/cni-3");
        remove_notes(notes.path(), Path::new("/run/knarr")).unwrap();
        let left = fs::read_dir(notes.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["bridge-c3-eth0", "cni-loopback-b2-lo", "knarr-b2-eth0"]);
        remove_notes(&notes.path().join("absent"), Path::new("/run/knarr")).unwrap();
    }

    #[test]
    fn a_tree_is_removed_whole() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("data");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && Path::new("/etc").exists());
    }
}
