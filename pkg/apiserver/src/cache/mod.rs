//! The watch cache: per kind the current objects and the recent events, fed by one watch on the store.
//!
//! ```text
//! store ── feed ──┬─ Cache of pods ────┬─ items   key -> bytes, revision, labels, fields
//!                 │                    ├─ ring    the last events
//!                 │                    └─ queues  one per watcher, bounded
//!                 ├─ Cache of services …
//!                 └─ progress: every event up to this revision has been applied and queued
//! ```
//!
//! A read waits until `progress` has reached the store's newest revision, so it sees every write that was acknowledged
//! before it. A watch starts at the ring when that reaches back far enough and else replays the store; it answers 410
//! only when the store has been compacted. A watcher that does not keep up loses its queue and so its connection: it never
//! holds up the feed.

#[cfg(test)]
mod contract;
mod event;
mod facts;
mod feed;
mod item;
mod list;
mod progress;
mod ring;
mod selection;
mod watch;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use knarr_api::kind::{KindRef, Relaxed};
use knarr_api::status::Result;
use knarr_store::{Revision, Shared};

pub use event::{ChangeType, Event};
pub use facts::Facts;
pub use feed::Error as FeedError;
pub use feed::Feed;
pub use item::{Item, Stored};
pub use list::{Listing, Position, Token};
pub use selection::Selection;
pub use watch::{Notice, Start, Watcher};

use facts::Reader;
use progress::Progress;
use ring::Ring;
use watch::Queue;

/// The objects of one kind.
#[derive(Debug)]
pub struct Cache {
    kind: KindRef,
    /// What the keys of this kind start with.
    prefix: Bytes,
    reader: Reader,
    store: Shared,
    progress: Progress,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    items: BTreeMap<Bytes, Arc<Item>>,
    /// Total size of the items' bytes.
    bytes: usize,
    /// Revision of the newest event; everything since has left this kind alone.
    changed: Revision,
    ring: Ring,
    queues: BTreeMap<u64, Queue>,
    next_queue: u64,
}

impl Cache {
    /// The kind whose objects these are.
    #[must_use]
    pub fn kind(&self) -> &KindRef {
        &self.kind
    }

    /// One object, as of now: it includes every write that was acknowledged before this call.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Arc<Item>>> {
        self.progress.current(&self.store).await?;
        Ok(self.read().items.get(key).cloned())
    }

    /// One object as the cache has it now, which may be a moment behind. For decisions that are taken again and again.
    #[must_use]
    pub fn peek(&self, namespace: &str, name: &str) -> Option<Arc<Item>> {
        self.read().items.get(&crate::registry::keys::object(&self.kind, namespace, name)).cloned()
    }

    /// The objects that were last written at `revision` or before.
    pub(crate) fn written_until(&self, revision: Revision) -> Vec<Arc<Item>> {
        self.read().items.values().filter(|item| item.stored.revision <= revision).cloned().collect()
    }

    /// Whether the feed that brings the changes is alive.
    #[must_use]
    pub fn is_fed(&self) -> bool {
        self.progress.is_fed()
    }

    /// Number of objects and their size.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let state = self.read();
        (state.items.len(), state.bytes)
    }

    /// Number of running watches.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.read().queues.len()
    }

    /// Up to which revision `state` is the whole truth about this kind. For kinds that are not relaxed it is at most the
    /// last durable one, so that no power cut can take it back.
    fn revision_of(&self, state: &State) -> Revision {
        self.settled(self.progress.applied()).max(state.changed)
    }

    /// What may be told to clients of an applied revision.
    fn settled(&self, applied: Revision) -> Revision {
        match self.kind.relaxed {
            Relaxed::Never => applied.min(self.store.durable_revision()),
            Relaxed::Always | Relaxed::In(_) => applied,
        }
    }

    /// Takes over what one revision did to this kind, as a whole. `History` is older than the items and only fills the ring.
    fn apply(&self, events: Vec<knarr_store::Event>, age: Age) -> Result<(), knarr_api::object::Malformed> {
        let read = |event| Event::read(event, &self.reader);
        let events = events.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut state = self.write();
        for event in events {
            if age == Age::New {
                state.replace(&event);
            }
            state.ring.push(event.clone());
            state.queues.retain(|_, queue| queue.offer(&event));
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event happened before the caches were filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    History,
    New,
}

impl State {
    fn replace(&mut self, event: &Event) {
        if let Some(now) = &event.now {
            self.bytes += now.stored.bytes.len();
            self.items.insert(now.key.clone(), now.clone());
        } else {
            self.items.remove(event.key());
        }
        if let Some(previous) = &event.previous {
            self.bytes = self.bytes.saturating_sub(previous.stored.bytes.len());
        }
        self.changed = event.revision;
    }

    /// The items whose keys are at or behind `from` and start with `prefix`.
    fn range<'a>(&'a self, prefix: &'a [u8], from: &'a [u8]) -> impl Iterator<Item = &'a Arc<Item>> {
        let start = from.max(prefix);
        self.items
            .range::<[u8], _>((Bound::Included(start), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, item)| item)
    }
}
