//! Opening: from whatever a crash left to a store that can be trusted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::engine::feed::Feed;
use crate::engine::options::Options;
use crate::engine::state::State;
use crate::engine::writer::RESERVE;
use crate::error::Error;
use crate::index::{Covered, Index, IndexError, Slot};
use crate::log::append::{Appender, Draft, Leave, Stamp};
use crate::log::boot;
use crate::log::disk::Disk;
use crate::log::format::{BatchHeader, Kind, Position, RecordRef, SEGMENT_HEADER, SegmentHeader};
use crate::log::recovery::{self, End, Found};
use crate::model::Revision;

/// What the writer starts with.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) state: Arc<State>,
    pub(crate) appender: Appender,
    pub(crate) revision: Revision,
    pub(crate) reserved: Revision,
    /// The floor up to which the index has forgotten deletes.
    pub(crate) forgotten: Revision,
}

/// Opens the log on `disk` and its index below `directory`.
pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path, boot_id: &str, options: &Options) -> Result<Opened, Error> {
    let found = recovery::find(Arc::clone(&disk), options.segment_size)?;
    let mut replay = Replay::start(&found, directory, boot_id, options)?;
    let end = found.read(replay.covered.position, |header, records| replay.batch(header, records))?;
    let same_boot = boot::is_same(disk.as_ref(), boot_id);
    if let Some(why) = end.torn {
        tracing::warn!(at = ?end.position, why, "the end of the log was not written completely; cutting it there");
    }
    let jump = end.torn.is_some() || !same_boot;
    if jump && same_boot {
        // If this is interrupted after the cut, nothing but this will tell that a jump is due.
        boot::remember(disk.as_ref(), boot::UNKNOWN).map_err(unusable)?;
    }
    let opened = replay.finish(found, &end, jump, options)?;
    if jump {
        boot::remember(disk.as_ref(), boot_id).map_err(unusable)?;
    }
    Ok(opened)
}

fn unusable(error: std::io::Error) -> Error {
    Error::Open(format!("cannot prepare the log: {error}"))
}

/// What has been read so far.
struct Replay {
    index: Index,
    covered: Covered,
    /// The last segment: before it, everything is durable.
    last: u32,
    index_batch: usize,
    /// The floor up to which sled has forgotten deletes.
    forgotten: Revision,
}

impl Replay {
    fn start(found: &Found, directory: &Path, boot: &str, options: &Options) -> Result<Self, Error> {
        let headers = found.log.headers();
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Err(Error::Open("the log has no segments".to_owned()));
        };
        let (index, covered) =
            Index::open(directory, boot, options.index_cache, found.log.id()).map_err(|error| unindexed(&error))?;
        let (last, index_batch) = (last.number, options.index_batch);
        let Some(covered) = covered else {
            tracing::info!(segments = headers.len(), "reading the whole log");
            return Ok(Self { index, covered: at_start(first), last, index_batch, forgotten: first.floor });
        };
        if found.log.segment(covered.position.segment).is_none() && covered.position.segment < first.number {
            let index = index.reset(directory, options.index_cache).map_err(|error| unindexed(&error))?;
            return Ok(Self { index, covered: at_start(first), last, index_batch, forgotten: first.floor });
        }
        if !found.reaches(covered.position)? {
            return Err(Error::Damaged {
                file: crate::log::Segment::name(covered.position.segment),
                offset: covered.position.offset.into(),
                what: "the log ends earlier than the index, which knew it durable up to here".to_owned(),
            });
        }
        let forgotten = covered.floor;
        Ok(Self { index, covered, last, index_batch, forgotten })
    }

    fn batch(&mut self, header: &BatchHeader, records: &[RecordRef<'_>]) -> Result<(), Error> {
        for record in records {
            self.record(record).map_err(|error| unindexed(&error))?;
        }
        self.covered.position = header.end();
        self.covered.revision = header.revision;
        self.covered.floor = header.floor;
        self.covered.reserved = header.reserved;
        let is_due = self.index.waiting() >= self.index_batch && header.position.segment < self.last;
        if is_due && self.index.has_room().map_err(|error| unindexed(&error))? {
            self.index.freeze();
            self.index.store(&self.covered).map_err(|error| unindexed(&error))?;
            tracing::info!(segment = header.position.segment, of = self.last, "building the index");
        }
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>) -> Result<(), IndexError> {
        match record.head.kind {
            Kind::Copied | Kind::CopiedDelete => {}
            Kind::Gap => self.covered.gaps.push((record.head.create_revision, record.head.revision)),
            Kind::Put | Kind::Delete | Kind::Moved => {
                let deleted = record.head.kind.is_delete();
                let slot = Slot { revision: record.head.revision, place: record.place, deleted };
                let old = self.index.newest(record.key)?;
                // sled may know later ones already, when it was interrupted.
                if old.is_none_or(|old| old.revision <= slot.revision) {
                    let freed = old.map_or(0, |old| old.live_bytes());
                    self.covered.live = (self.covered.live + slot.live_bytes()).saturating_sub(freed);
                    self.index.apply([(Bytes::copy_from_slice(record.key), slot)]);
                }
            }
        }
        Ok(())
    }

    /// Makes the log durable, cut where it must be, and the revision safe.
    fn finish(self, found: Found, end: &End, jump: bool, options: &Options) -> Result<Opened, Error> {
        let Self { index, mut covered, forgotten, .. } = self;
        covered.position = end.position;
        let (log, segment) = found.settle(end).map_err(unusable)?;
        let stamp = Stamp { revision: covered.revision, floor: covered.floor, reserved: covered.reserved };
        let mut appender =
            Appender::new(Arc::clone(&log), segment, end.position, options.segment_size, stamp).map_err(unusable)?;
        if jump {
            leap(&mut appender, &mut covered)?;
        }
        covered.gaps.retain(|(_, last)| *last >= covered.floor);
        let state = State {
            log,
            index,
            feed: Feed::new(covered.revision, options.ring),
            durable: AtomicU64::new(covered.revision),
            floor: AtomicU64::new(covered.floor),
            live: AtomicU64::new(covered.live),
            unindexed: AtomicU64::new(0),
            gaps: covered.gaps,
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            full: AtomicBool::new(false),
            ended: OnceLock::new(),
        };
        let (revision, reserved) = (covered.revision, covered.reserved);
        Ok(Opened { state: Arc::new(state), appender, revision, reserved, forgotten })
    }
}

/// Goes on behind every revision that anybody may have seen, durably.
fn leap(appender: &mut Appender, covered: &mut Covered) -> Result<(), Error> {
    let gap = (covered.revision + 1, covered.reserved.max(covered.revision));
    let mut drafts = Vec::new();
    if gap.0 <= gap.1 {
        tracing::info!(from = covered.revision, to = gap.1, "skipping revisions that may have been seen");
        drafts.push(Draft {
            kind: Kind::Gap,
            key: Bytes::new(),
            value: Bytes::new(),
            revision: gap.1,
            create_revision: gap.0,
            version: 0,
            previous: None,
        });
        covered.gaps.push(gap);
    }
    covered.revision = gap.1;
    covered.reserved = covered.revision + RESERVE;
    let stamp = Stamp { revision: covered.revision, floor: covered.floor, reserved: covered.reserved };
    let appended = appender.append(&drafts, stamp, Leave::None, true).map(drop);
    let appended = appended.and_then(|()| appender.sync().map_err(Into::into));
    appended.map_err(|error| Error::Open(format!("cannot write to the log: {error:?}")))
}

fn at_start(first: &SegmentHeader) -> Covered {
    Covered {
        log: first.log,
        position: Position::new(first.number, SEGMENT_HEADER),
        revision: first.revision,
        floor: first.floor,
        reserved: first.reserved,
        live: 0,
        gaps: Vec::new(),
    }
}

fn unindexed(error: &IndexError) -> Error {
    Error::Open(error.to_string())
}
