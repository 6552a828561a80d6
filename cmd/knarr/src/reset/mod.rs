//! `knarr reset`: removes everything that knarr made on this machine.
//!
//! In this order: systemd's units, processes, mounts, kernel objects of the network, cgroups, sockets, CNI's notes, files.
//! Whatever fails is reported at the end, the rest is still done, and the command can be repeated.

mod cgroups;
mod containerd;
mod files;
mod processes;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{cli, systemd};

/// Removes everything, and says what could not be removed.
pub(crate) fn run(arguments: &cli::Reset) -> Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "knarr reset needs root");
    let cli::Directories { data_dir, run_dir, .. } = &arguments.directories;
    let own: Vec<PathBuf> = [data_dir, run_dir].into_iter().filter(|path| path.exists()).cloned().collect();
    let cgroups = cgroups::find(&arguments.cgroup_root, systemd::cgroup(data_dir));
    let steps: [(&str, &dyn Fn() -> Result<()>); 8] = [
        ("units", &|| systemd::stop_units(data_dir)),
        ("processes", &|| processes::end(&own, &cgroups)),
        ("mounts", &|| files::unmount_below(&own)),
        ("network", &|| Ok(knarr_network::reset()?)),
        ("cgroups", &|| cgroups::remove(&cgroups, &arguments.cgroup_root)),
        ("sockets", &|| containerd::remove_shim_sockets(run_dir)),
        ("notes of CNI", &|| containerd::remove_notes(Path::new(containerd::CNI_NOTES), run_dir)),
        ("files", &|| own.iter().try_for_each(|path| files::remove_tree(path))),
    ];
    let mut failed = Vec::new();
    for (what, step) in steps {
        if let Err(error) = step() {
            failed.push(format!("{what}: {error:#}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not everything could be removed: {}", failed.join("; ")) }
}

/// The directories in a directory; none when it is not there.
fn folders(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
