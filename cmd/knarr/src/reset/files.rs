//! Mounts and files below knarr's directories.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// Unmounts everything below knarr's directories, the deepest first.
pub(super) fn unmount_below(own: &[PathBuf]) -> Result<()> {
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

/// Removes a tree without ever leaving its file system: what is mounted there is not ours to delete.
pub(super) fn remove_tree(path: &Path) -> Result<()> {
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
