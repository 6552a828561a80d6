//! The most recent events of one kind.

use std::collections::VecDeque;
use std::sync::Arc;

use knarr_store::Revision;

use super::event::Event;

/// At most so many events are kept per kind.
const MAX_EVENTS: usize = 1024;

/// And at most so many bytes of objects.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// All events after a revision. What it has forgotten is in the store until that is compacted.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    since: Revision,
}

impl Ring {
    /// An empty ring that will hold all events after `since`.
    pub(crate) fn new(since: Revision) -> Self {
        Self { events: VecDeque::new(), bytes: 0, since }
    }

    /// Every event after this revision is here.
    pub(crate) const fn since(&self) -> Revision {
        self.since
    }

    /// Adds the newest event.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= weight(&oldest);
            self.since = oldest.revision;
        }
    }

    /// The events after `revision`, oldest first.
    pub(crate) fn after(&self, revision: Revision) -> impl Iterator<Item = &Arc<Event>> {
        let from = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(from..)
    }
}

/// What forgetting the event frees: the state before it. The state after it is alive in the cache or in the next event.
fn weight(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |item| item.stored.bytes.len())
}
