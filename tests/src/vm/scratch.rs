//! A place for files that no end of this process leaves behind.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount as mount_at};
use nix::sched::{CloneFlags, unshare};

/// Mounts a `tmpfs` that only this process and its children see: it goes with the last of them.
pub(super) fn mount(place: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&place)?;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let nothing = None::<&str>;
    mount_at(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("cannot keep mounts private")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_at(Some("scratch"), &place, Some("tmpfs"), flags, Some("mode=700")).context("cannot mount a tmpfs")?;
    Ok(place)
}
