//! Files that are written whole or not at all: keys, certificates, and what else must not be torn or read by others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Certificates: everybody.
    Public,
    /// Private keys: the owner.
    Private,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Public => 0o644,
            Self::Private => 0o600,
        }
    }
}

/// Reads a file; `None` when it does not exist.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.into(), source }),
    }
}

/// Replaces a file so that a crash leaves either the old content or the new one. The temporary file gets its mode before
/// its first byte, so that a key is never readable by others. What is there already, for no more readers, is not written
/// again: a server must start on a full disk.
///
/// # Errors
/// When the directory does not take it.
pub fn write(path: &Path, content: &str, access: Access) -> Result<(), Error> {
    if holds(path, content, access) {
        return Ok(());
    }
    replace(path, content, access).map_err(|source| Error::File { path: path.into(), source })
}

fn holds(path: &Path, content: &str, access: Access) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map(|file| file.permissions().mode() & 0o777);
    mode.is_ok_and(|mode| mode & !access.mode() == 0) && fs::read_to_string(path).is_ok_and(|text| text == content)
}

fn replace(path: &Path, content: &str, access: Access) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(access.mode()).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes a directory and its parents. Certificates in it are public, keys protect themselves.
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|source| Error::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_leftovers_of_a_crash_do_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.key");
        fs::write(directory.path().join("ca.key.new"), "torn").unwrap();
        assert_eq!(read(&path).unwrap(), None);
        write(&path, "secret", Access::Private).unwrap();
        write(&path, "secret 2", Access::Private).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), "secret 2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
