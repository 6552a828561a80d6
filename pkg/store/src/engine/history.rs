//! Watching: the feed's ring while it reaches back far enough, else the log.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::engine::feed::{Subscriber, part_of};
use crate::engine::state::{State, key_value};
use crate::error::Error;
use crate::log::format::{BatchHeader, Position, RecordRef, SEGMENT_HEADER};
use crate::log::scan::{Next, Scan};
use crate::model::{Batch, Event, Revision};

/// Batches taken from the ring at once.
const CHUNK: usize = 64;
/// Bytes of matching values read from the log at once; that much memory a slow watch may hold.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of the log looked at in one go, so that a blocking thread is soon free again.
const STRETCH: u32 = 8 << 20;

/// One running watch.
pub(crate) struct Watching {
    state: Weak<State>,
    subscriber: Arc<Subscriber>,
    prefix: Bytes,
    /// The first revision that has not been looked at.
    next: Revision,
    /// Where in the log the search for it goes on.
    position: Option<Position>,
    found: VecDeque<Batch>,
    over: bool,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            state.feed.unsubscribe(&self.subscriber);
        }
    }
}

impl Watching {
    /// Starts at revision `from`, or with what comes next.
    pub(crate) fn start(state: &Arc<State>, prefix: Bytes, from: Option<Revision>) -> Result<Self, Error> {
        let subscriber = state.feed.subscribe(prefix.clone());
        let next = from.unwrap_or_else(|| state.feed.visible() + 1);
        let state_ref = Arc::downgrade(state);
        let watching =
            Self { state: state_ref, subscriber, prefix, next, position: None, found: VecDeque::new(), over: false };
        state.check_readable(next, true)?;
        Ok(watching)
    }

    /// The next batch; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Batch, Error>> {
        loop {
            if let Some(batch) = self.found.pop_front() {
                return Some(Ok(batch));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.over = true;
                return (!matches!(error, Error::Closed)).then_some(Err(error));
            }
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let Some(state) = self.state.upgrade() else { return Err(Error::Closed) };
        let visible = state.feed.visible();
        if self.next > visible {
            if let Some(ended) = state.ended.get() {
                return Err(ended.clone());
            }
            drop(state);
            // Whatever came before the news did not match, so it need not be looked at.
            match self.subscriber.take_news() {
                Some(news) => self.next = self.next.max(news),
                None => self.subscriber.wait().await,
            }
            return Ok(());
        }
        if let Some(batches) = state.feed.since(self.next, CHUNK) {
            self.position = None;
            self.next = batches.last().map_or(visible + 1, |batch| batch.revision + 1);
            self.found.extend(batches.iter().filter_map(|batch| part_of(batch, &self.prefix)));
            return Ok(());
        }
        let search = Search { state, prefix: self.prefix.clone(), from: self.next, visible, position: self.position };
        let found = tokio::task::spawn_blocking(move || search.run()).await;
        let found = found.map_err(|error| Error::Poisoned(format!("reading the log: {error}")))??;
        (self.next, self.position) = (found.next, found.position);
        self.found.extend(found.batches);
        Ok(())
    }
}

/// A look for batches in the log.
struct Search {
    state: Arc<State>,
    prefix: Bytes,
    from: Revision,
    visible: Revision,
    position: Option<Position>,
}

struct FoundBatches {
    batches: Vec<Batch>,
    /// Everything before this revision has been looked at.
    next: Revision,
    position: Option<Position>,
}

impl Search {
    fn run(self) -> Result<FoundBatches, Error> {
        let log = &self.state.log;
        let start = self.position.or_else(|| log.start_of(self.from)).ok_or_else(|| self.compacted())?;
        let mut scan = log.scan(start).ok_or_else(|| self.compacted())?;
        let mut found = FoundBatches { batches: Vec::new(), next: self.from, position: None };
        let (mut bytes, mut looked_at) = (0, 0);
        while found.next <= self.visible && bytes < CHUNK_BYTES && looked_at < STRETCH {
            let offset = scan.position().offset;
            let peeked = scan.peek();
            match peeked.map_err(|error| scan.damaged(offset, error))? {
                Next::Broken(what) => return Err(scan.damaged(offset, what)),
                Next::End => match log.scan(Position::new(scan.position().segment + 1, SEGMENT_HEADER)) {
                    Some(following) => scan = following,
                    None => found.next = self.visible + 1,
                },
                // Written but not yet to be seen.
                Next::Batch(header) if header.revision > self.visible => found.next = self.visible + 1,
                Next::Batch(header) => {
                    if header.revision >= found.next {
                        bytes += self.collect(&mut scan, &header, &mut found.batches)?;
                        found.next = header.revision + 1;
                    }
                    looked_at += header.length;
                    scan.skip(&header);
                }
            }
        }
        found.position = Some(scan.position());
        // Compacted while it was read: what was found may have holes.
        self.state.check_readable(self.from, true)?;
        Ok(found)
    }

    fn compacted(&self) -> Error {
        Error::Compacted { asked: self.from, oldest: self.state.floor() }
    }

    /// Adds the matching events of one batch of the log, which may hold several revisions; answers their size.
    fn collect(&self, scan: &mut Scan, header: &BatchHeader, batches: &mut Vec<Batch>) -> Result<usize, Error> {
        let records = match scan.records(header) {
            Ok(Ok(records)) => records,
            Ok(Err((offset, what))) => return Err(scan.damaged(offset, what)),
            Err(error) => return Err(scan.damaged(header.position.offset, error)),
        };
        let mut bytes = 0;
        for record in records {
            let head = &record.head;
            if !head.kind.is_event() || head.revision < self.from || !record.key.starts_with(&self.prefix) {
                continue;
            }
            let event = self.event(&record)?;
            bytes += record.place.length as usize + head.previous.map_or(0, |previous| previous.place.length as usize);
            match batches.last_mut().filter(|batch| batch.revision == head.revision) {
                Some(batch) => batch.events.push(event),
                None => batches.push(Batch { revision: head.revision, events: vec![event] }),
            }
        }
        Ok(bytes)
    }

    fn event(&self, record: &RecordRef<'_>) -> Result<Event, Error> {
        let previous = self.state.previous(record.head.previous, self.from)?;
        match previous {
            Some(previous) if record.head.kind.is_delete() => {
                Ok(Event::Delete { previous, revision: record.head.revision })
            }
            previous => Ok(Event::Put { now: key_value(record.copied()), previous }),
        }
    }
}
