//! `knarr reset`: removes everything that knarr made on this machine.
//!
//! In this order: systemd's units, processes, mounts, kernel objects of the network, cgroups, sockets, CNI's notes, files.
//! Whatever fails is reported at the end, and the command can be repeated. The files go only when all else has gone: they are
//! what tells that the rest is this node's, and below what is still mounted there may be somebody else's.
//!
//! What an administrator did stays: units are stopped, and as enabled as they were.

mod cgroups;
mod containerd;
mod files;
mod processes;

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use crate::cli::{self, say};
use crate::systemd;

/// Removes everything, and says what could not be removed.
pub(crate) fn run(arguments: &cli::Reset) -> Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "knarr reset needs root");
    let cli::Directories { data_dir, run_dir, .. } = &arguments.directories;
    let own = files::directories([data_dir, run_dir])?;
    let units = systemd::cgroup(data_dir);
    // Without any file nothing says that these cgroups are ours: the kubelet of another cluster gives them the same names.
    let cgroups = if own.is_empty() { Vec::new() } else { cgroups::find(&arguments.cgroup_root, units)? };
    let steps: [(&str, &dyn Fn() -> Result<()>); 7] = [
        ("units", &|| systemd::stop_units(data_dir)),
        ("processes", &|| processes::end(&own, &cgroups)),
        ("mounts", &|| files::unmount_below(&own)),
        ("network", &|| Ok(knarr_network::reset()?)),
        ("cgroups", &|| cgroups::remove(&cgroups, &arguments.cgroup_root)),
        ("sockets", &|| containerd::remove_shim_sockets(run_dir)),
        ("notes of CNI", &|| containerd::remove_notes(Path::new(containerd::CNI_NOTES), run_dir)),
    ];
    let failed = steps.iter().filter_map(|(what, step)| step().err().map(|error| format!("{what}: {error:#}")));
    let failed: Vec<_> = failed.collect();
    if !failed.is_empty() {
        bail!("not everything could be removed, so the files stay: {}", failed.join("; "));
    }
    own.iter().try_for_each(|path| files::remove_tree(path))?;
    if units.is_some() {
        say(
            "knarr has been removed; `systemctl disable knarr knarr-dataplane` keeps it from being set up anew at the next boot",
        );
    }
    Ok(())
}

/// What is in a directory; nothing when it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(directory) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        listed => listed.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let listed = listed.with_context(|| format!("cannot list {}", directory.display()))?;
    Ok(listed.into_iter().map(|entry| entry.path()).collect())
}

/// The directories in a directory; none when it is not there.
fn folders(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(directory)?.into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect())
}

/// Reads a file; `None` when it is not there, or the process or cgroup that it tells about.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if is_gone(&error) => Ok(None),
        read => read.map(Some).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::ENOENT | Errno::ESRCH | Errno::ENODEV))
}
