//! Access to files, behind a trait so that tests can put faults and a simulated disk in its place.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, PosixFadviseAdvice, fallocate, posix_fadvise};

use crate::error::Error;
use crate::log::direct;

/// A directory of files.
pub(crate) trait Disk: Debug + Send + Sync + 'static {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// The same, to write past the page cache if the file system can do that: whole blocks of the answered size.
    fn open_direct(&self, name: &str) -> io::Result<(Box<dyn DiskFile>, u32)>;
    /// Makes an empty file of `size` zero bytes, with its space allocated where the file system can do that.
    fn create(&self, name: &str, size: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, replacing what had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file of a [`Disk`].
pub(crate) trait DiskFile: Debug + Send + Sync + 'static {
    /// As `pread(2)`: may be short; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As `pwrite(2)`: may be short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// As `fdatasync(2)`.
    fn sync(&self) -> io::Result<()>;
    /// The size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Turns everything from `offset` on into zeros, keeping the size and the allocation.
    fn clear_from(&self, offset: u64) -> io::Result<()>;
    /// Says that this part will be read soon.
    fn expect(&self, part: Range<u64>);
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer`, as far as the file goes; answers how much that was.
pub(crate) fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether an error means that there is no space, for us or at all.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A real directory, held exclusively.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Released by the kernel when the process ends, however it ends.
    _lock: Flock<File>,
}

impl Directory {
    /// Makes the directory if it is missing and takes it for this process alone.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let explain = |error: io::Error| Error::Open(format!("{}: {error}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(explain)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(explain)?;
        }
        let lock = options().create(true).truncate(false).open(path.join("lock")).map_err(explain)?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(Error::Open(format!("{} is in use by another process", path.display())))
            }
            Err((_, errno)) => Err(explain(errno.into())),
        }
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.path)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(options().open(self.path.join(name))?))
    }

    fn open_direct(&self, name: &str) -> io::Result<(Box<dyn DiskFile>, u32)> {
        let path = self.path.join(name);
        direct::open(&path, options().open(&path)?)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = options().create(true).truncate(true).open(self.path.join(name))?;
        allocate(&file, size)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Only root may read what the store holds.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    let wanted = i64::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    match fallocate(file, FallocateFlags::empty(), 0, wanted) {
        Err(Errno::EOPNOTSUPP) => file.set_len(size),
        result => Ok(result?),
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        let size = self.metadata()?.len();
        self.set_len(offset)?;
        allocate(self, size)
    }

    fn expect(&self, part: Range<u64>) {
        let (Ok(offset), Ok(length)) = (part.start.try_into(), (part.end - part.start).try_into()) else { return };
        // Only advice: whoever reads gets it anyway.
        let _taken = posix_fadvise(self, offset, length, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
}
