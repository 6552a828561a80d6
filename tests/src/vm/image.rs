//! The machine's disk and kernel, made of the packages of the Debian release that this machine runs.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::checkout;
use crate::command::run;

/// What a user has installed before knarr: systemd, and what knarr's own package will depend on.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "ca-certificates",
    "conntrack",
    "containerd",
    "dbus",
    "iproute2",
    "kmod",
    // Its kernel has NVMe and ext4 built in, so that it boots without an initial file system.
    "linux-image-cloud-amd64",
    "nftables",
    "procps",
    "runc",
    "systemd",
    "systemd-sysv",
    "udev",
];
/// Of the disk; the file is sparse.
const SIZE: &str = "4G";

/// A disk and the kernel that boots it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) disk: PathBuf,
    pub(super) kernel: PathBuf,
}

/// The image, made when the cache has none of this recipe.
pub(super) fn prepare(cache: &Path) -> Result<Image> {
    let release = release()?;
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let lock = fs::File::create(cache.join("lock"))?;
    let _held =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("cannot lock the cache")?;

    let init = fs::read(checkout("tests/vm/init"))?;
    let mut recipe = DefaultHasher::new();
    (&release, PACKAGES, SIZE, &init).hash(&mut recipe);
    let directory = cache.join(format!("{release}-{:016x}", recipe.finish()));
    let image = Image { disk: directory.join("disk"), kernel: directory.join("kernel") };
    if !directory.exists() {
        // Of other recipes, or half of one.
        for entry in fs::read_dir(cache)?.flatten().filter(|entry| entry.path().is_dir()) {
            fs::remove_dir_all(entry.path())?;
        }
        let building = cache.join("building");
        fs::create_dir(&building)?;
        build(&release, &building)?;
        fs::rename(&building, &directory)?;
    }
    Ok(image)
}

fn build(release: &str, directory: &Path) -> Result<()> {
    let root = directory.join("root");
    let [place, disk] = [&root, &directory.join("disk")].map(|path| path.to_string_lossy().into_owned());
    eprintln!("making a Debian {release} in {} ...", directory.display());
    // In a mount namespace of its own, so that what is mounted for the packages' scripts cannot stay behind.
    let include = format!("--include={}", PACKAGES.join(","));
    let debootstrap = ["--mount", "debootstrap", "--variant=minbase", &include, release, &place, &mirror(release)?];
    run("unshare", &debootstrap).context("debootstrap failed")?;
    fs::copy(checkout("tests/vm/init"), root.join("usr/sbin/knarr-vm-init"))?;
    let kernels: Vec<_> = fs::read_dir(root.join("boot"))?.flatten().map(|entry| entry.path()).collect();
    let kernel = kernels.iter().find(|path| path.to_string_lossy().contains("/vmlinuz-")).context("no kernel")?;
    fs::copy(kernel, directory.join("kernel"))?;
    for unused in ["boot", "var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(unused))?;
    }
    run("mke2fs", &["-q", "-t", "ext4", "-O", "^has_journal", "-d", &place, &disk, SIZE])?;
    Ok(fs::remove_dir_all(root)?)
}

/// The release's name. The programs under test are linked against this machine's C library, so it must be the same.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot tell which system this is")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    match field("ID").as_str() {
        "debian" => Ok(field("VERSION_CODENAME")),
        other => {
            bail!("the virtual machine is made of this machine's own packages, which must be Debian's: this is {other}")
        }
    }
}

/// The mirror that this machine's apt uses.
fn mirror(release: &str) -> Result<String> {
    let arguments = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"];
    let found = run("apt-get", &[&arguments[..], &[&format!("Codename: {release}")]].concat())?;
    let first = found.lines().next().map(ToOwned::to_owned);
    first.with_context(|| format!("apt knows no packages of {release}: run `apt-get update`"))
}
