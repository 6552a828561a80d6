//! Ending knarr's processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{entries, folders, is_gone, read};

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// knarr's programs, and those that it starts.
const PROGRAMS: [&str; 3] = ["knarr", "containerd", "containerd-shim-runc-v2"];

/// Kills what runs in knarr's cgroups, and the server, the data plane, containerd and its shims: programs that were started
/// with one of knarr's directories as an argument, or have a file of one open.
pub(super) fn end(own: &[PathBuf], cgroups: &[PathBuf]) -> Result<()> {
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
        collect_members(cgroup, &mut found)?;
    }
    for process in entries(Path::new("/proc"))? {
        let name = process.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.parse().ok()).map(Pid::from_raw) else { continue };
        let Some(arguments) = read(&process.join("cmdline"))? else { continue };
        let mut words = arguments.split(|&byte| byte == 0).map(String::from_utf8_lossy);
        let program = words.next().unwrap_or_default().into_owned();
        let name = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ours = |path: &Path| own.iter().any(|own| path.starts_with(own));
        if PROGRAMS.contains(&name)
            && (words.any(|word| is_ours(Path::new(&*word))) || open_files(&process).any(|file| is_ours(&file)))
        {
            found.push(pid);
        }
    }
    found.retain(|pid| *pid != Pid::this());
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// What a process has open; nothing when it has ended meanwhile.
fn open_files(process: &Path) -> impl Iterator<Item = PathBuf> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
}

fn collect_members(cgroup: &Path, found: &mut Vec<Pid>) -> Result<()> {
    let file = cgroup.join("cgroup.procs");
    let members = match fs::read_to_string(&file) {
        Err(error) if is_gone(&error) => return Ok(()),
        // That of a threaded cgroup cannot be read: the cgroup above it names its processes.
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => String::new(),
        members => members.with_context(|| format!("cannot read {}", file.display()))?,
    };
    found.extend(members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).map(Pid::from_raw));
    folders(cgroup)?.iter().try_for_each(|child| collect_members(child, found))
}
