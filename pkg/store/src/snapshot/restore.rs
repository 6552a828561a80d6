//! Making a store of a snapshot.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::Reader;
use crate::engine::Options;
use crate::error::Error;
use crate::log::build::build;
use crate::log::disk::{Directory, Disk};
use crate::log::format::{Kind, Record, RecordHead};
use crate::model::{KeyValue, Revision};

/// How far behind the snapshot's revision the restored store goes on: further than the old one can have come since, at a
/// million writes in every second of twelve days.
pub const JUMP: Revision = 1 << 40;

/// Writes the records of a snapshot that `wanted` wants to a directory that has none, as a store that [`crate::LogStore`]
/// opens. What changed before counts as compacted: whoever watched the old store has to list the new one.
///
/// What is there after an error is no store, and has to be removed.
///
/// # Errors
/// When the snapshot is damaged, when the directory is in use or has a log, or does not take another one.
pub fn restore<R: Read>(
    snapshot: Reader<R>,
    directory: &Path,
    wanted: impl FnMut(&KeyValue) -> bool,
) -> Result<Revision, Error> {
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(directory)?);
    let unreadable = |error: std::io::Error| Error::Open(format!("{}: {error}", directory.display()));
    if disk.list().map_err(unreadable)?.iter().any(|name| name.ends_with(".log")) {
        return Err(Error::Open(format!("{} has a store", directory.display())));
    }
    let revision = snapshot.head().revision.checked_add(JUMP);
    let revision = revision.ok_or_else(|| Error::Open("no revision follows that of the snapshot".to_owned()))?;
    build(disk, Options::default().segment_size, revision, records(snapshot, wanted))?;
    Ok(revision)
}

fn records<R: Read>(
    snapshot: Reader<R>,
    mut wanted: impl FnMut(&KeyValue) -> bool,
) -> impl Iterator<Item = Result<Record, Error>> {
    let items = snapshot.filter(move |item| item.as_ref().map_or(true, &mut wanted));
    items.map(|item| {
        let KeyValue { key, value, create_revision, mod_revision, version } =
            item.map_err(|error| Error::Open(error.to_string()))?;
        let head = RecordHead { kind: Kind::Moved, revision: mod_revision, create_revision, version, previous: None };
        Ok(Record { head, key, value })
    })
}
