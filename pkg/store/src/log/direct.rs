//! Writing past the page cache.
//!
//! Through the cache, a commit of a few hundred bytes writes every page that it touches as a whole, again and again while
//! the page fills. Past it, only the sectors are written that it fills, and nothing is copied. Whether a file system
//! can do that (see `open(2)`, `O_DIRECT`) is found out by asking it; where it cannot, the cache is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::log::disk::DiskFile;

/// Where a buffer must begin for every device.
const ALIGNMENT: usize = 4096;
/// What devices write at least: a sector of most, and of those that have larger ones.
const BLOCKS: [u32; 2] = [512, 4096];

/// Bytes that begin where a device can take them from.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Becomes empty, with room for `size` bytes that will not be moved.
    pub(crate) fn begin(&mut self, size: usize) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.reserve(size + ALIGNMENT);
        self.start = self.bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        self.bytes.resize(self.start, 0);
        &mut self.bytes
    }

    /// What was written to it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Gives back memory beyond `capacity`.
    pub(crate) fn shrink_to(&mut self, capacity: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(capacity);
    }
}

/// A file whose writes go past the cache when they are whole blocks of an [`Aligned`] buffer.
#[derive(Debug)]
struct Direct {
    direct: File,
    cached: File,
}

/// Opens a file to write past the cache, and answers the size of the blocks to be written.
pub(super) fn open(path: &Path, cached: File) -> io::Result<(Box<dyn DiskFile>, u32)> {
    let [smallest, _] = BLOCKS;
    let direct = match OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_DIRECT.bits()).open(path) {
        Err(error) if is_refused(&error) => return Ok((Box::new(cached), smallest)),
        opened => opened?,
    };
    let mut buffer = Aligned::default();
    for block in BLOCKS {
        buffer.begin(block as usize).extend(std::iter::repeat_n(0, block as usize));
        match FileExt::read_at(&direct, buffer.bytes_mut(), 0) {
            Err(error) if is_refused(&error) => {}
            read => {
                read?;
                return Ok((Box::new(Direct { direct, cached }), block));
            }
        }
    }
    Ok((Box::new(cached), smallest))
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EINVAL | Errno::EOPNOTSUPP))
}

impl DiskFile for Direct {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.cached, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match FileExt::write_at(&self.direct, bytes, offset) {
            // Such as the rest of a write that was short by less than a block.
            Err(error) if is_refused(&error) => FileExt::write_at(&self.cached, bytes, offset),
            written => written,
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.cached.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        DiskFile::size(&self.cached)
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        self.cached.clear_from(offset)
    }

    fn expect(&self, part: Range<u64>) {
        self.cached.expect(part);
    }
}
