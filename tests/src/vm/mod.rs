//! A virtual machine as users have one: Debian with systemd and cgroup v2, where the machine that runs the tests may have
//! neither. Emulated, so that it runs anywhere; without any network device.
//!
//! ```text
//! host                                    guest
//! image.rs    Debian's packages    ---->  /dev/nvme0n1, the root; what is written to it is thrown away
//! payload.rs  what is tested       ---->  /dev/nvme0n2, a tar archive that tests/vm/init unpacks before systemd starts
//! machine.rs  counts PASS and FAIL <----  /dev/ttyS1, written by guest.rs
//!             shown on failure     <----  /dev/ttyS0, the console
//! ```

pub mod guest;
mod image;
mod machine;
mod payload;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use machine::Outcome;

/// Boots the machine with this knarr and runs the checks in it.
///
/// # Errors
/// When the machine cannot be made or booted. Checks that fail are part of the outcome.
pub fn run(knarr: &Path) -> Result<Outcome> {
    let image = image::prepare()?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let payload = payload::make(knarr, scratch.path())?;
    machine::boot(&image, &payload, scratch.path())
}

/// A file of this checkout.
fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
