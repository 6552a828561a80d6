//! Files that change all at once, as upstream's atomic writer does it, because programs have come to rely on the layout:
//!
//!     volume/..2026_11_23_18_46_00.123456789/key    the files of one state
//!     volume/..data -> ..2026_11_23_18_46_00.123456789
//!     volume/key -> ..data/key
//!
//! A reader that follows `..data` once sees one state. A new state is a new directory and one rename of the link.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::payload::Payload;

const DATA: &str = "..data";

/// Makes `directory` show exactly `payload`. Files belong to `group` where one is given.
pub(crate) fn write(directory: &Path, payload: &Payload, group: Option<i64>) -> io::Result<()> {
    for path in payload.keys() {
        validate(path)?;
    }
    let current = std::fs::read_link(directory.join(DATA)).ok();
    if let Some(current) = &current
        && same(&directory.join(current), payload)?
    {
        // A kubelet that died between the two renames has left links to be made.
        return show(directory, payload);
    }
    let name = format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let fresh = directory.join(&name);
    fill(&fresh, payload, group)?;
    let link = directory.join("..data_tmp");
    remove_file(&link)?;
    symlink(&name, &link)?;
    std::fs::rename(&link, directory.join(DATA))?;
    show(directory, payload)?;
    if let Some(current) = current {
        std::fs::remove_dir_all(directory.join(current))?;
    }
    Ok(())
}

fn fill(fresh: &Path, payload: &Payload, group: Option<i64>) -> io::Result<()> {
    let owner = |path: &Path| -> io::Result<()> {
        match group.and_then(|group| u32::try_from(group).ok()) {
            Some(group) => std::os::unix::fs::chown(path, None, Some(group)),
            None => Ok(()),
        }
    };
    make_directory(fresh)?;
    owner(fresh)?;
    for (path, file) in payload {
        let path = fresh.join(path);
        if let Some(parent) = path.parent().filter(|parent| *parent != fresh) {
            std::fs::create_dir_all(parent)?;
            for directory in parent.ancestors().take_while(|directory| *directory != fresh) {
                std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
                owner(directory)?;
            }
        }
        std::fs::write(&path, &file.content)?;
        // With `fsGroup`, that group can always read, as upstream.
        let mode = if group.is_some() { file.mode | 0o040 } else { file.mode };
        match file.owner {
            Some(uid) => std::os::unix::fs::chown(&path, u32::try_from(uid).ok(), None)?,
            None => owner(&path)?,
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// Links every first component to `..data`, and removes links to what is no more.
fn show(directory: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = directory.join(name);
        let target = Path::new(DATA).join(name);
        if std::fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        remove_file(&link)?;
        symlink(target, link)?;
    }
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            remove_file(&directory.join(name.as_ref()))?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a state on disk is the wanted one.
fn same(state: &Path, payload: &Payload) -> io::Result<bool> {
    let mut present = BTreeSet::new();
    list(state, Path::new(""), &mut present)?;
    if present.len() != payload.len() {
        return Ok(false);
    }
    for (path, file) in payload {
        let on_disk = state.join(path);
        let Ok(found) = std::fs::metadata(&on_disk) else { return Ok(false) };
        let owner_mode = found.mode() & 0o700 == file.mode & 0o700;
        if !owner_mode || found.len() != file.content.len() as u64 || std::fs::read(&on_disk)? != file.content {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(state: &Path, below: &Path, into: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = match std::fs::read_dir(state.join(below)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(state, &path, into)?;
        } else {
            into.insert(path);
        }
    }
    Ok(())
}

/// A path stays inside its volume and does not disguise itself as ours.
fn validate(path: &str) -> io::Result<()> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(io::Error::other(format!("invalid path {path:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::payload::File;

    fn payload(files: &[(&str, &str, u32)]) -> Payload {
        files
            .iter()
            .map(|(path, content, mode)| {
                ((*path).to_owned(), File { content: content.as_bytes().into(), mode: *mode, owner: None })
            })
            .collect()
    }

    #[test]
    fn a_state_replaces_another_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, &payload(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(root.join("d/b")).unwrap(), "2");
        assert_eq!(std::fs::metadata(root.join("d/b")).unwrap().mode() & 0o777, 0o400);
        let state = std::fs::read_link(root.join(DATA)).unwrap();

        write(root, &payload(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).unwrap();
        assert_eq!(std::fs::read_link(root.join(DATA)).unwrap(), state, "nothing has changed");
        std::fs::remove_file(root.join("a")).unwrap();
        write(root, &payload(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "1", "what an interrupted write has left out");

        write(root, &payload(&[("a", "3", 0o644)]), None).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "3");
        assert!(!root.join("d").exists());
        assert!(!root.join(state).exists(), "the former state is gone");
        write(root, &Payload::new(), None).unwrap();
        assert!(!root.join("a").exists());
    }

    #[test]
    fn paths_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["../x", "/x", "..x", "", "a/../../x"] {
            assert!(write(directory.path(), &payload(&[(path, "", 0o644)]), None).is_err(), "{path}");
        }
    }
}
