//! Mounting and unmounting below our own directories.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a tmpfs at `path` unless one is there; whether it is new.
pub(crate) fn tmpfs(path: &Path, options: &str) -> io::Result<bool> {
    std::fs::create_dir_all(path)?;
    if is_mount_point(path)? {
        return Ok(false);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))?;
    Ok(true)
}

/// Binds what `source` names to `target`, which exists.
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    Ok(mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?)
}

/// Whether something is mounted exactly here.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(below(&table()?, path).iter().any(|mount| mount == path))
}

/// Unmounts everything at and below `directory`, the innermost first.
///
/// # Errors
/// When something stays mounted.
pub fn unmount_below(directory: &Path) -> io::Result<()> {
    let mounted = below(&table()?, directory);
    for mount in mounted.iter().rev() {
        match umount2(mount, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // It went along with another one.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => {
                let text = format!("unmount {}: {error}", mount.display());
                return Err(io::Error::new(io::Error::from(error).kind(), text));
            }
        }
    }
    let left = below(&table()?, directory);
    match left.first() {
        Some(mount) => Err(io::Error::other(format!("{} is still mounted", mount.display()))),
        None => Ok(()),
    }
}

/// The mount table. Somebody else's mount point may be no UTF-8; ours are.
fn table() -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo")?).into_owned())
}

/// The mount points at and below a directory, in the order in which they were mounted.
fn below(mountinfo: &str, directory: &Path) -> Vec<PathBuf> {
    let points =
        mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    points.filter(|point| point.starts_with(directory)).collect()
}

/// Space, tab, newline and backslash stand in the mount table as three octal digits (`proc_pid_mountinfo(5)`).
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, after.get(3..)) {
            (Some(code), Some(tail)) => {
                out.push(char::from(code));
                rest = tail;
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read() {
        let table = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /pods/a\\040b/v rw - tmpfs x rw\n3 1 0:3 / /pods/ab rw - tmpfs x rw\n";
        assert_eq!(below(table, Path::new("/pods/a b")), [PathBuf::from("/pods/a b/v")]);
        assert!(below(table, Path::new("/pods/a")).is_empty());
    }
}
