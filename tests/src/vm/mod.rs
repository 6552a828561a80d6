//! A virtual machine as users have one: Debian with systemd and cgroup v2, where the machine that runs the tests may have
//! neither. Emulated, so that it runs anywhere; without any network device.
//!
//! ```text
//! host                                    guest
//! image.rs    Debian's packages    ---->  /dev/nvme0n1, the root; what is written to it is thrown away
//! payload.rs  what is tested       ---->  /dev/nvme0n2, a tar archive that tests/vm/init unpacks before systemd starts
//! machine.rs  counts PASS and FAIL <----  /dev/ttyS1, written by guest/
//!             shown on failure     <----  /dev/ttyS0, the console
//! ```
//!
//! Files of a run are on a file system that the kernel takes away with this process, however it ends; the disk is kept in
//! a cache.

pub mod guest;
mod image;
mod machine;
mod payload;
mod scratch;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

pub use machine::Outcome;

/// Where disks are kept; wiping it costs a few minutes.
const CACHE: &str = "/var/cache/knarr-vm";

/// Boots the machine with this knarr and runs the checks in it.
///
/// # Errors
/// When the machine cannot be made or booted. Checks that fail are part of the outcome.
pub fn run(knarr: &Path) -> Result<Outcome> {
    ensure!(nix::unistd::geteuid().is_root(), "making the virtual machine's disk needs root");
    let cache = std::env::var_os("KNARR_VM_CACHE").map_or_else(|| CACHE.into(), PathBuf::from);
    let image = image::prepare(&cache.join("images"))?;
    let scratch = scratch::mount(cache.join("scratch"))?;
    let payload = payload::make(knarr, &scratch)?;
    machine::boot(&image, &payload, &scratch)
}

/// A file of this checkout.
fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
