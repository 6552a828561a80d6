//! Upkeep: the thread that writes the index to sled and reclaims segments.
//!
//! Segments go in the order in which they came. The oldest one can go when everything in it, and in the [`REACH`] segments
//! after it, is compacted; what is still the newest value of its key is first written again at the end of the log. Going in
//! order is what makes a rebuilt index right: a delete never goes before the puts that it deletes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::engine::options::Options;
use crate::engine::queue::{Queue, Request};
use crate::engine::signal::{Signal, Wanted};
use crate::engine::state::State;
use crate::engine::writer::{REACH, UNINDEXED};
use crate::error::Error;
use crate::log::format::{Kind, Place, Position, SEGMENT_HEADER, SegmentHeader};
use crate::log::scan::Next;
use crate::model::Revision;

/// Bytes moved in one request, so that writers do not wait long behind it.
const MOVE_BYTES: u64 = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) state: Arc<State>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) signal: Arc<Signal>,
    pub(crate) options: Options,
    /// The floor up to which deletes have left the index.
    pub(crate) floor: Revision,
    /// The floor up to which it is known how many segments were needed.
    pub(crate) settled: Revision,
}

/// What is still needed of a segment.
struct Live {
    records: Vec<(Bytes, Place)>,
    bytes: u64,
}

impl Upkeep {
    /// Works until it is told to end. A failure ends all writing.
    pub(crate) fn run(mut self) {
        let state = Arc::clone(&self.state);
        match catch_unwind(AssertUnwindSafe(move || self.work())) {
            Ok(Ok(())) | Ok(Err(Error::Closed)) => {}
            Ok(Err(error)) => state.end(error),
            Err(_) => {
                state.index.distrust();
                state.end(Error::Poisoned("upkeep panicked".to_owned()));
            }
        }
    }

    fn work(&mut self) -> Result<(), Error> {
        loop {
            match self.signal.wait() {
                Wanted::Abandon => return Ok(()),
                Wanted::Stop => return self.checkpoint(),
                Wanted::Work => {
                    if self.is_checkpoint_due() {
                        self.checkpoint()?;
                    }
                    self.reclaim()?;
                    self.prepare();
                }
            }
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        self.state.index.waiting() >= self.options.index_batch
            || self.state.unindexed.load(Ordering::Relaxed) >= UNINDEXED
            || self.state.floor() > self.floor
    }

    /// Makes everything in the log durable, and writes the index to disk, unless there is no space for it. Then the next
    /// start reads more of the log, or all of it if what was indexed is gone by then.
    fn checkpoint(&mut self) -> Result<(), Error> {
        if !self.state.index.has_room().map_err(|error| self.state.index_failed(&error))? {
            return self.ask(Request::Sync);
        }
        let covered = self.ask(Request::Freeze)?;
        self.state.index.store(&covered).map_err(|error| self.state.index_failed(&error))?;
        self.floor = covered.floor;
        Ok(())
    }

    /// Removes old segments as long as that frees more than it writes; on a full disk, as long as it frees anything.
    fn reclaim(&mut self) -> Result<(), Error> {
        loop {
            let emptied = match self.empty_segments() {
                // It may be enough next time; until then nothing is lost.
                Err(Error::NoSpace(why)) => {
                    tracing::warn!(%why, "cannot reclaim disk space");
                    return Ok(());
                }
                emptied => emptied?,
            };
            if emptied == 0 {
                return Ok(());
            }
            // The copies are durable before the originals go.
            self.checkpoint()?;
            for _ in 0..emptied {
                let removed = self.state.log.remove_oldest(self.options.segment_size);
                removed.map_err(|error| Error::Poisoned(format!("cannot remove a segment: {error}")))?;
            }
        }
    }

    /// Has a file ready for the next segment. Without one, the writer finds a slower way.
    fn prepare(&mut self) {
        let log = &self.state.log;
        let settled = if self.settled < self.floor { log.give_back() } else { Ok(()) };
        self.settled = self.floor;
        if let Err(error) = settled.and_then(|()| log.prepare(self.options.segment_size)) {
            tracing::warn!(%error, "cannot prepare a segment");
        }
    }

    /// Writes what is live in the oldest segments again; answers in how many of them nothing is left.
    fn empty_segments(&self) -> Result<usize, Error> {
        let headers = self.state.log.headers();
        let settled = settled(&headers, self.state.floor());
        let size = u64::from(self.options.segment_size);
        let full = self.state.full.load(Ordering::Relaxed);
        // One segment after the other on a full disk; else some at once, because of what a checkpoint costs.
        let budget = if full { 0 } else { size / 2 };
        let (mut moved, mut emptied) = (0, 0);
        for header in headers.iter().take(settled) {
            let Some(live) = self.live(header)? else { break };
            let left = (settled - emptied) as u64 * size;
            let worth_it = full || live.bytes <= size / 2 || left > 2 * self.state.live.load(Ordering::Relaxed);
            if !worth_it || (emptied > 0 && moved + live.bytes > budget) {
                break;
            }
            moved += live.bytes;
            self.rewrite(live)?;
            emptied += 1;
        }
        Ok(emptied)
    }

    /// The records of a segment that the index points to; `None` when the segment is damaged, which only stops reclaiming.
    fn live(&self, header: &SegmentHeader) -> Result<Option<Live>, Error> {
        let Some(mut scan) = self.state.log.scan(Position::new(header.number, SEGMENT_HEADER)) else { return Ok(None) };
        let mut live = Live { records: Vec::new(), bytes: 0 };
        let damage = loop {
            let batch = match scan.peek() {
                Ok(Next::End) => return Ok(Some(live)),
                Ok(Next::Batch(batch)) => batch,
                Ok(Next::Broken(what)) => break what.to_owned(),
                Err(error) => break error.to_string(),
            };
            match scan.records(&batch) {
                Ok(Ok(records)) => {
                    for record in records.iter().filter(|record| matches!(record.head.kind, Kind::Put | Kind::Moved)) {
                        let slot = self.state.index.newest(record.key);
                        let slot = slot.map_err(|error| self.state.index_failed(&error))?;
                        if slot.is_some_and(|slot| slot.place == record.place) {
                            live.records.push((Bytes::copy_from_slice(record.key), record.place));
                            live.bytes += u64::from(record.place.length);
                        }
                    }
                }
                Ok(Err((_, what))) => break what.to_owned(),
                Err(error) => break error.to_string(),
            }
            scan.skip(&batch);
        };
        tracing::error!(segment = header.number, offset = scan.position().offset, %damage, "damaged; it is kept");
        Ok(None)
    }

    fn rewrite(&self, live: Live) -> Result<(), Error> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for (key, place) in live.records {
            bytes += u64::from(place.length);
            chunk.push((key, place));
            if bytes >= MOVE_BYTES {
                let chunk = std::mem::take(&mut chunk);
                self.ask(|reply| Request::Move(chunk, reply))?;
                bytes = 0;
            }
        }
        self.ask(|reply| Request::Move(chunk, reply))
    }

    fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(request(reply));
        answer.blocking_recv().unwrap_or_else(|_| Err(self.state.ended.get().cloned().unwrap_or(Error::Closed)))
    }
}

/// How many of the oldest segments no reader can ask for any more.
fn settled(headers: &[SegmentHeader], floor: Revision) -> usize {
    let after = headers.iter().skip(REACH as usize + 1);
    after.take_while(|header| header.revision < floor).count()
}
