//! A layer: a tar file whose every byte follows from what was put into it.

use std::io;
use std::path::Path;

/// A layer under construction. Entries stand in the order in which they were added; all belong to root and are dated
/// 1970, so that equal contents have equal digests.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        tar.mode(tar::HeaderMode::Deterministic);
        Self { tar }
    }
}

impl Layer {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory; `path` without a leading slash.
    ///
    /// # Errors
    /// When the path does not fit a tar header.
    pub fn directory(&mut self, path: &str, mode: u32) -> io::Result<&mut Self> {
        self.entry(&format!("{path}/"), tar::EntryType::Directory, mode, &[])
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// When the path does not fit a tar header.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<&mut Self> {
        self.entry(path, tar::EntryType::Regular, mode, content)
    }

    /// Adds a hard link at `path` to an earlier file `target`.
    ///
    /// # Errors
    /// When a path does not fit a tar header.
    pub fn hard_link(&mut self, path: &str, target: &str) -> io::Result<&mut Self> {
        let mut header = header(tar::EntryType::Link, 0o755, 0);
        self.tar.append_link(&mut header, path, Path::new(target))?;
        Ok(self)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When a path does not fit a tar header.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<&mut Self> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, Path::new(target))?;
        Ok(self)
    }

    /// The layer's bytes.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }

    fn entry(&mut self, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) -> io::Result<&mut Self> {
        let mut header = header(kind, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content)?;
        Ok(self)
    }
}

pub(crate) fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
