//! `knarr check`: what this host lacks, and the exact command that mends it.

use std::path::Path;

use anyhow::{Result, bail};

use crate::cli::{Check, say};

/// One thing that a node needs.
struct Need {
    what: &'static str,
    there: fn() -> bool,
    mend: &'static str,
}

const NEEDS: &[Need] = &[
    Need { what: "root", there: || nix::unistd::geteuid().is_root(), mend: "run knarr as root" },
    Need { what: "containerd", there: || program("containerd"), mend: "apt-get install containerd" },
    Need { what: "runc", there: || program("runc"), mend: "apt-get install runc" },
    Need { what: "nft", there: || program("nft"), mend: "apt-get install nftables" },
    Need {
        what: "cgroup controller memory",
        there: || controller("memory"),
        mend: "add cgroup_enable=memory to the kernel's command line and reboot",
    },
    Need { what: "cgroup controller cpu", there: || controller("cpu"), mend: "use a kernel with CONFIG_CGROUP_SCHED" },
    Need { what: "cgroup controller pids", there: || controller("pids"), mend: "use a kernel with CONFIG_CGROUP_PIDS" },
    Need {
        what: "overlayfs",
        there: || filesystem("overlay"),
        mend: "modprobe overlay (without it images take more space and time)",
    },
];

/// Prints one line per need and fails when one is not met.
pub(crate) fn run(arguments: &Check) -> Result<()> {
    let mut lacking = 0;
    for need in NEEDS {
        if (need.there)() {
            say(&format!("ok       {}", need.what));
        } else {
            lacking += 1;
            say(&format!("missing  {}: {}", need.what, need.mend));
        }
    }
    let ranges = [&arguments.ranges.cluster_cidr[..], &arguments.ranges.service_cluster_ip_range].concat();
    let network = knarr_network::check(&ranges)?;
    for lack in &network {
        let word = if lack.mend.is_empty() { "note   " } else { "missing" };
        let mend = if lack.mend.is_empty() { String::new() } else { format!(": {}", lack.mend) };
        lacking += usize::from(!lack.mend.is_empty());
        say(&format!("{word}  {}{mend}", lack.what));
    }
    match lacking {
        0 => Ok(()),
        1 => bail!("this host lacks one thing"),
        more => bail!("this host lacks {more} things"),
    }
}

fn program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = ["/usr/local/sbin", "/usr/sbin", "/sbin"].into_iter().map(Into::into);
    std::env::split_paths(&path).chain(own).any(|directory| directory.join(name).is_file())
}

fn controller(name: &str) -> bool {
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    unified.split_whitespace().any(|known| known == name) || Path::new("/sys/fs/cgroup").join(name).is_dir()
}

/// Whether the kernel has it, or loads its module at the first mount.
fn filesystem(name: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = std::fs::read_to_string(format!("/lib/modules/{}/modules.dep", release.trim())).unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(name)) || lists_module(&modules, name)
}

/// Whether `modules.dep(5)` has a module of this name; its file may be compressed.
fn lists_module(modules: &str, name: &str) -> bool {
    let files = modules.lines().filter_map(|line| line.split_once(':')?.0.rsplit('/').next());
    files.filter_map(|file| file.split_once(".ko")).any(|(module, _)| module == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_can_be_loaded() {
        let modules = "kernel/fs/fuse/fuse.ko:\nkernel/fs/overlayfs/overlay.ko.xz: kernel/fs/fuse/fuse.ko\n";
        for (name, there) in [("overlay", true), ("fuse", true), ("over", false), ("overlayfs", false)] {
            assert_eq!(lists_module(modules, name), there, "{name}");
        }
    }
}
