//! A file that appears whole, or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// What temporary names end with.
pub(crate) const PARTIAL: &str = ".partial";

/// A file under a temporary name beside the one that it will have. Only its owner may read it. Gone when this is dropped.
pub(crate) struct Target {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl Target {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().with_context(|| format!("{} is no name for a file", path.display()))?;
        if path.symlink_metadata().is_ok() {
            bail!("{} exists", path.display());
        }
        let prefix = format!(".{}.", name.to_string_lossy());
        let temporary = tempfile::Builder::new().prefix(&prefix).suffix(PARTIAL).tempfile_in(parent(path));
        let temporary = temporary.with_context(|| format!("cannot write to {}", parent(path).display()))?;
        Ok(Self { path: path.to_owned(), temporary })
    }

    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// The content, from its start.
    pub(crate) fn reopen(&self) -> Result<File> {
        Ok(self.temporary.reopen()?)
    }

    /// Gives it its name, durably.
    pub(crate) fn keep(self) -> Result<()> {
        let Self { path, temporary } = self;
        let unwritten = || format!("cannot write {}", path.display());
        temporary.as_file().sync_all().with_context(unwritten)?;
        temporary.persist_noclobber(&path).with_context(unwritten)?;
        File::open(parent(&path)).and_then(|directory| directory.sync_all()).with_context(unwritten)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_target_appears_whole_or_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.snapshot");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let target = Target::new(&path).unwrap();
        target.file().write_all(b"half").unwrap();
        assert!(!path.exists() && names() == 1);
        drop(target);
        assert_eq!(names(), 0);
        let (first, second) = (Target::new(&path).unwrap(), Target::new(&path).unwrap());
        first.file().write_all(b"first").unwrap();
        first.keep().unwrap();
        assert!(second.keep().is_err(), "it replaces another snapshot");
        assert_eq!((fs::read(&path).unwrap(), names()), (b"first".to_vec(), 1));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Target::new(&path).is_err() && Target::new(Path::new("/")).is_err());
    }
}
