//! A part of a volume as a mount of its own.
//!
//! The volume's content belongs to the pod, which may put symbolic links into it and swap them while we look
//! (CVE-2017-1002101, CVE-2021-25741). So the path is resolved by the kernel, beneath the volume and in one step
//! (`openat2(2)` with `RESOLVE_BENEATH`), and what was opened is bound by its descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

use super::mounts;

/// Binds `path` of the volume at `root` to `target`; a missing directory is made. What is bound there from an earlier start
/// of the container is replaced, unless it is the same: files that come from the API are new ones after every change.
///
/// # Errors
/// When the path leaves the volume, or the kernel refuses.
pub(crate) fn bind(root: &Path, path: &str, target: &Path) -> io::Result<()> {
    let source = open(root, path)?;
    let descriptor = format!("/proc/self/fd/{}", source.as_raw_fd());
    let wanted = std::fs::metadata(&descriptor)?;
    if mounts::is_mount_point(target)? {
        let bound = std::fs::metadata(target)?;
        if (bound.dev(), bound.ino()) == (wanted.dev(), wanted.ino()) {
            return Ok(());
        }
        mounts::unmount_below(target)?;
    }
    let directory = wanted.is_dir();
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if directory {
        std::fs::create_dir_all(target)?;
    } else {
        std::fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    mounts::bind(Path::new(&descriptor), target)
}

/// Opens a path beneath `root`, making directories that are missing.
fn open(root: &Path, path: &str) -> io::Result<OwnedFd> {
    let root = std::fs::File::open(root)?;
    let how = || OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_BENEATH);
    match openat2(&root, path, how()) {
        Ok(found) => return Ok(found),
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(refused(path, error)),
    }
    let mode = Mode::from_bits_truncate(root.metadata()?.mode() & 0o777);
    let mut here = openat2(&root, ".", how()).map_err(|error| refused(path, error))?;
    for component in Path::new(path).components() {
        let name: &OsStr = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(refused(path, Errno::EXDEV)),
        };
        match mkdirat(&here, name, mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(refused(path, error)),
        }
        // A component that is a link out of the volume is refused here.
        here = openat2(&here, name, how()).map_err(|error| refused(path, error))?;
    }
    Ok(here)
}

fn refused(path: &str, error: Errno) -> io::Error {
    match error {
        Errno::EXDEV => io::Error::other(format!("subPath {path:?} leaves its volume")),
        other => io::Error::other(format!("subPath {path:?}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_cannot_lead_out_of_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("volume");
        std::fs::create_dir_all(root.join("inside/deep")).unwrap();
        std::fs::create_dir(directory.path().join("outside")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("inside", root.join("fine")).unwrap();
        for (path, allowed) in [
            ("inside/deep", true),
            ("fine/deep", true),
            ("new/directories", true),
            ("absolute", false),
            ("absolute/passwd", false),
            ("relative", false),
            ("relative/new", false),
            ("../outside", false),
        ] {
            assert_eq!(open(&root, path).is_ok(), allowed, "{path}");
        }
        assert!(root.join("new/directories").is_dir());
        assert!(!directory.path().join("outside/new").exists());
    }
}
