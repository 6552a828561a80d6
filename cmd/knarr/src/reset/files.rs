//! Mounts and files below knarr's directories.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::entries;

/// Those of the `given` directories that exist, without links on the way to them, and beside them each way that has some:
/// the mount table knows the former, a process's arguments the latter.
pub(super) fn directories<const N: usize>(given: [&PathBuf; N]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in given {
        let real = match path.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            real => real.with_context(|| format!("cannot look at {}", path.display()))?,
        };
        let way = std::path::absolute(path).with_context(|| format!("cannot look at {}", path.display()))?;
        if way != real {
            found.push(way);
        }
        found.insert(0, real);
    }
    Ok(found)
}

/// Unmounts everything below knarr's directories, which may be mount points themselves.
pub(super) fn unmount_below(own: &[PathBuf]) -> Result<()> {
    for entry in own.iter().map(|own| entries(own)).collect::<Result<Vec<_>>>()?.iter().flatten() {
        knarr_kubelet::unmount_below(entry)?;
    }
    Ok(())
}

/// Removes a tree without ever leaving its file system: what is mounted there is not ours to delete. A mount point stays, as
/// an empty directory, and what a link leads to is left alone.
pub(super) fn remove_tree(path: &Path) -> Result<()> {
    let top = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        top => top.with_context(|| format!("cannot look at {}", path.display()))?,
    };
    let removed = if top.is_dir() {
        remove_below(path, top.dev())?;
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
    }
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
    fn directories_are_known_by_their_places_and_by_the_links_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let (data, link, run) = (top.join("disk"), top.join("data"), top.join("run"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&run).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let found = directories([&link, &run, &top.join("absent")]).unwrap();
        assert_eq!(found, [run.clone(), data.clone(), link.clone()]);
        fs::write(data.join("file"), "x").unwrap();
        found.iter().try_for_each(|path| remove_tree(path)).unwrap();
        assert!(!data.exists() && !run.exists() && !link.is_symlink());
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
