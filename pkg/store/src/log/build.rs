//! Making a log of nothing but a state: after a repair, or of a backup.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::log::append::{AppendError, Appender, Draft, Leave, Stamp};
use crate::log::disk::Disk;
use crate::log::format::{Kind, Position, Record, SEGMENT_HEADER};
use crate::log::{Log, recovery};
use crate::model::Revision;

/// What goes into one batch.
const BATCH: usize = 1 << 20;

/// Writes these records to an empty directory as what was there at `revision`, durably. All older revisions count as
/// compacted, and the next one that is given is a later one.
pub(crate) fn build(
    disk: Arc<dyn Disk>,
    segment_size: u32,
    revision: Revision,
    records: impl Iterator<Item = Result<Record, Error>>,
) -> Result<(), Error> {
    let begun = recovery::first_segment(disk.as_ref(), segment_size, revision).and_then(|first| {
        let (id, first) = (first.header.log, Arc::new(first));
        let log = Log::new(disk, id, BTreeMap::from([(first.header.number, Arc::clone(&first))]));
        let end = Position::new(first.header.number, SEGMENT_HEADER);
        Appender::new(log, first, end, segment_size, Stamp { revision, floor: revision, reserved: revision })
    });
    let mut appender = begun.map_err(|error| unwritten(error.into()))?;
    let stamp = Stamp { revision, floor: revision, reserved: revision };
    let (mut drafts, mut size) = (Vec::new(), 0);
    let mut append = |drafts: &mut Vec<Draft>| {
        let appended =
            appender.append(drafts, stamp, Leave::None, true).and_then(|_| appender.sync().map_err(Into::into));
        drafts.clear();
        appended.map_err(unwritten)
    };
    for record in records {
        let Record { head, key, value } = record?;
        size += key.len() + value.len();
        drafts.push(Draft {
            kind: Kind::Moved,
            key,
            value,
            revision: head.revision,
            create_revision: head.create_revision,
            version: head.version,
            previous: None,
        });
        if size >= BATCH {
            append(&mut drafts)?;
            size = 0;
        }
    }
    append(&mut drafts)
}

fn unwritten(error: AppendError) -> Error {
    match error {
        AppendError::NoSpace(why) => Error::NoSpace(why),
        AppendError::Failed(error) => Error::Open(format!("cannot write the log: {error}")),
    }
}
