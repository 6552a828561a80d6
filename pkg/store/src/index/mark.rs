//! A file beside the index that says whether its files can be trusted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::index::IndexError;

const SIZE: usize = 64;

/// The mark: `clean`, or `dirty BOOT` while the index is being changed, or `damaged`.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    boot: String,
    found: String,
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Mark {
    pub(super) fn open(directory: &Path, boot: &str) -> Result<Self, IndexError> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join("index.mark");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = [0; SIZE];
        let length = file.read_at(&mut bytes, 0)?;
        let found = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).trim().to_owned();
        if length < SIZE {
            // From now on it can be written on a full disk, too.
            file.write_all_at(&[b' '; SIZE], 0)?;
        }
        Ok(Self { file, boot: boot.to_owned(), found })
    }

    /// Whether the files that were found can be used. sled survives the end of its process, not that of the machine.
    pub(super) fn trusted(&self) -> Result<(), String> {
        match self.found.split_once(' ') {
            None if self.found == "clean" => Ok(()),
            Some(("dirty", boot)) if boot == self.boot => Ok(()),
            Some(("dirty", _)) => Err("the machine went down while it was written".to_owned()),
            _ if self.found.is_empty() => Err("there is none".to_owned()),
            _ => Err("it was found damaged".to_owned()),
        }
    }

    pub(super) fn begin(&self) -> io::Result<()> {
        self.write(&format!("dirty {}", self.boot))
    }

    pub(super) fn end(&self) -> io::Result<()> {
        self.write("clean")
    }

    pub(super) fn distrust(&self) -> io::Result<()> {
        self.write("damaged")
    }

    /// One sector: written whole or not at all.
    fn write(&self, text: &str) -> io::Result<()> {
        self.file.write_all_at(format!("{text:<SIZE$.SIZE$}").as_bytes(), 0)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_went_down_while_writing_spoils_it() {
        let directory = tempfile::tempdir().unwrap();
        let trusted = |boot: &str| Mark::open(directory.path(), boot).unwrap().trusted().is_ok();
        assert!(!trusted("a"), "there was nothing to trust");
        let mark = Mark::open(directory.path(), "a").unwrap();
        mark.begin().unwrap();
        assert!(trusted("a"));
        assert!(!trusted("b"));
        mark.end().unwrap();
        assert!(trusted("a") && trusted("b"));
        mark.distrust().unwrap();
        assert!(!trusted("a"));
    }
}
