//! One change of one object, as watchers share it.

use std::sync::Arc;

use bytes::Bytes;
use knarr_api::object::Malformed;
use knarr_api::status::Result;
use knarr_store::{Event as StoreEvent, Revision};

use super::facts::Reader;
use super::item::{Forms, Item, Stored};
use super::selection::Selection;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// When it happened.
    pub revision: Revision,
    /// What is there since; `None` for a delete.
    pub now: Option<Arc<Item>>,
    /// What was there before; `None` for a create.
    pub previous: Option<Arc<Item>>,
    /// What is sent, per form.
    frames: Forms<FrameKey>,
}

/// Which encoding of an event is meant: what the change is to the watcher, and a number that the encoder gives to each
/// version and form.
pub(crate) type FrameKey = (ChangeType, u8);

/// What a change is to a watcher: an object that enters its selection is added to it, one that leaves is deleted from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    /// Created, or entered the selection.
    Added,
    /// Changed within the selection.
    Modified,
    /// Deleted, or left the selection.
    Deleted,
}

impl ChangeType {
    /// As it is sent.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Event {
    pub(crate) fn new(revision: Revision, now: Option<Arc<Item>>, previous: Option<Arc<Item>>) -> Arc<Self> {
        Arc::new(Self { revision, now, previous, frames: Forms::default() })
    }

    /// Reads a change from the store, both of its sides from their bytes.
    pub(crate) fn read(event: StoreEvent, reader: &Reader) -> Result<Arc<Self>, Malformed> {
        Ok(match event {
            StoreEvent::Put { now, previous } => {
                let previous = previous.map(|entry| Item::read(entry, reader)).transpose()?;
                let now = Item::read(now, reader)?;
                Self::new(now.stored.revision, Some(now), previous)
            }
            StoreEvent::Delete { previous, revision } => Self::new(revision, None, Some(Item::read(previous, reader)?)),
        })
    }

    /// The object's key.
    pub(crate) fn key(&self) -> &[u8] {
        self.now.as_ref().or(self.previous.as_ref()).map(|item| &*item.key).unwrap_or_default()
    }

    /// What the change is to somebody who sees only `selection`; `None` when nothing.
    pub(crate) fn seen_by(&self, selection: &Selection) -> Option<ChangeType> {
        let matches = |item: &Option<Arc<Item>>| item.as_ref().is_some_and(|item| selection.matches(item));
        match (matches(&self.previous), matches(&self.now)) {
            (false, true) => Some(ChangeType::Added),
            (true, true) => Some(ChangeType::Modified),
            (true, false) => Some(ChangeType::Deleted),
            (false, false) => None,
        }
    }

    /// The object to send for `change`: the last state that was selected, at this event's revision.
    #[must_use]
    pub fn object(&self, change: ChangeType) -> Option<Stored> {
        let item = if change == ChangeType::Deleted { self.previous.as_ref() } else { self.now.as_ref() }?;
        Some(Stored { bytes: item.stored.bytes.clone(), revision: self.revision })
    }

    /// The bytes to send, encoded once for all watchers of the same form.
    ///
    /// # Errors
    /// What `make` says.
    pub(crate) fn frame(&self, key: FrameKey, make: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        self.frames.get(key, make)
    }
}
