//! Remembers during which boot of the machine the log was last written. While that has not changed, the kernel still has
//! everything that was ever written, synced or not.

use std::io;

use crate::log::disk::{Disk, read_up_to, write_all};

const NAME: &str = "boot";
const NEW: &str = "boot.new";

/// What stands there when unsynced writes may be gone although the machine did not go down: no boot has this id.
pub(crate) const UNKNOWN: &str = "unknown";

/// Whether the log was last written during this boot.
pub(crate) fn is_same(disk: &dyn Disk, boot: &str) -> bool {
    let mut bytes = [0; 64];
    let read = disk.open(NAME).and_then(|file| read_up_to(file.as_ref(), &mut bytes, 0));
    // If it cannot be read, the worst is assumed.
    read.is_ok_and(|length| bytes.get(..length).is_some_and(|bytes| bytes.trim_ascii_end() == boot.as_bytes()))
}

/// Writes it down, durably. Once the file exists, that takes no space; half-written it is no boot's id.
pub(crate) fn remember(disk: &dyn Disk, boot: &str) -> io::Result<()> {
    let text = format!("{boot:<64.64}");
    if let Ok(file) = disk.open(NAME) {
        write_all(file.as_ref(), text.as_bytes(), 0)?;
        return file.sync();
    }
    let file = disk.create(NEW, text.len() as u64)?;
    write_all(file.as_ref(), text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(NEW, NAME)?;
    disk.sync_names()
}
