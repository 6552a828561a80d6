//! One watcher of one kind.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_store::{Revision, Watch};
use tokio::sync::mpsc;

use super::event::{ChangeType, Event};
use super::item::Item;
use super::selection::Selection;
use super::{Cache, State};

/// A watcher that is so many events behind is closed; its client watches again from where it was.
const QUEUE: usize = 1024;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what exists now, as additions.
    Now,
    /// With what exists at a revision that is at least this one; 0 is content with whatever the cache has.
    AtLeast(Revision),
    /// With the changes after this revision.
    After(Revision),
}

/// What a watcher hears of.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An object that exists at the start.
    Existing(Arc<Item>),
    /// All objects that exist at the start have been named; this is their revision.
    Synced(Revision),
    /// A change.
    Change(ChangeType, Arc<Event>),
}

/// The feed's end of a watcher's queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<(ChangeType, Arc<Event>)>,
    selection: Arc<Selection>,
    after: Revision,
}

impl Queue {
    /// Queues an event if the watcher is interested; false when the watcher is gone or too far behind.
    pub(super) fn offer(&self, event: &Arc<Event>) -> bool {
        if event.revision <= self.after {
            return true;
        }
        let Some(change) = event.seen_by(&self.selection) else { return !self.sender.is_closed() };
        self.sender.try_send((change, event.clone())).is_ok()
    }
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    cache: Arc<Cache>,
    id: u64,
    /// To be delivered before anything else.
    pending: VecDeque<Notice>,
    /// Events that are older than the ring, and the revision at which the ring takes over.
    replay: Option<(Watch, Revision)>,
    /// What the ring held.
    backlog: VecDeque<Notice>,
    live: mpsc::Receiver<(ChangeType, Arc<Event>)>,
    selection: Arc<Selection>,
}

impl Cache {
    /// Starts a watch.
    ///
    /// # Errors
    /// 410 when the revision to start after has been compacted, 504 when the one to start at has not happened.
    pub async fn watch(self: &Arc<Self>, selection: Arc<Selection>, start: Start) -> Result<Watcher> {
        match start {
            Start::Now => self.progress.current(&self.store).await?,
            Start::AtLeast(revision) => self.progress.at_least(revision).await?,
            Start::After(_) => {}
        }
        let (mut watcher, ring_since) = self.subscribe(&selection, start);
        if let Start::After(revision) = start
            && revision < ring_since
        {
            watcher.replay = Some((self.history(revision).await?, ring_since));
        }
        Ok(watcher)
    }

    /// Takes what is known and a place in the queue in one step, so that nothing is missed and nothing comes twice.
    fn subscribe(self: &Arc<Self>, selection: &Arc<Selection>, start: Start) -> (Watcher, Revision) {
        let (sender, live) = mpsc::channel(QUEUE);
        let mut guard = self.write();
        let state: &mut State = &mut guard;
        let (mut pending, mut backlog) = (VecDeque::new(), VecDeque::new());
        // The items hold every event so far. What the feed still refills the ring with after a start is older than them,
        // and would take the watcher back in time.
        let mut after = state.changed;
        if let Start::After(revision) = start {
            after = revision;
            let seen = |event: &Arc<Event>| Some(Notice::Change(event.seen_by(selection)?, event.clone()));
            backlog.extend(state.ring.after(revision).filter_map(seen));
        } else {
            let selected = state.range(selection.prefix(), b"").filter(|item| selection.matches(item));
            pending.extend(selected.cloned().map(Notice::Existing));
            pending.push_back(Notice::Synced(self.revision_of(state)));
        }
        let id = state.next_queue;
        state.next_queue += 1;
        state.queues.insert(id, Queue { sender, selection: selection.clone(), after });
        let since = state.ring.since();
        drop(guard);
        let (cache, selection) = (self.clone(), selection.clone());
        (Watcher { cache, id, pending, replay: None, backlog, live, selection }, since)
    }

    async fn history(&self, after: Revision) -> Result<Watch> {
        let expired = |error| match error {
            knarr_store::Error::Compacted { oldest, .. } => too_old(after, oldest),
            other => Status::internal(other),
        };
        self.store.watch(Bytes::new(), Some(after + 1)).await.map_err(expired)
    }
}

/// 410 with upstream's text.
fn too_old(asked: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {asked} ({oldest})"))
}

impl Watcher {
    /// The next thing to tell; `None` when the watcher fell too far behind or the server stops. It may be dropped and
    /// called again without losing anything.
    ///
    /// # Errors
    /// When the store cannot be read. The watch is over then.
    pub async fn next(&mut self) -> Option<Result<Notice>> {
        loop {
            if let Some(notice) = self.pending.pop_front() {
                return Some(Ok(notice));
            }
            if self.replay.is_some() {
                if let Err(status) = self.replay().await {
                    return Some(Err(status));
                }
            } else if !self.backlog.is_empty() {
                std::mem::swap(&mut self.pending, &mut self.backlog);
            } else {
                let (change, event) = self.live.recv().await?;
                return Some(Ok(Notice::Change(change, event)));
            }
        }
    }

    /// Reads one more revision from the store, or finds that the ring takes over here.
    async fn replay(&mut self) -> Result<()> {
        let Some((watch, until)) = &mut self.replay else { return Ok(()) };
        let batch = match watch.next().await {
            Some(Ok(batch)) if batch.revision <= *until => batch,
            Some(Err(knarr_store::Error::Compacted { asked, oldest })) => {
                return Err(too_old(asked.saturating_sub(1), oldest));
            }
            Some(Err(error)) => return Err(Status::internal(error)),
            Some(Ok(_)) | None => {
                self.replay = None;
                return Ok(());
            }
        };
        let done = batch.revision == *until;
        for event in batch.events.into_iter().filter(|event| self.selection.may_hold(super::feed::event_key(event))) {
            let event = Event::read(event, &self.cache.reader).map_err(Status::internal)?;
            if let Some(change) = event.seen_by(&self.selection) {
                self.pending.push_back(Notice::Change(change, event));
            }
        }
        if done {
            self.replay = None;
        }
        Ok(())
    }

    /// A revision up to which everything has been told; `None` while something is still to be told, and when something
    /// did not fit into the queue.
    #[must_use]
    pub fn bookmark(&self) -> Option<Revision> {
        // The order matters: what was applied before these reads is in the queue if it concerns the watcher.
        let refilled = self.cache.progress.is_refilled();
        let applied = self.cache.progress.applied();
        let idle = self.pending.is_empty() && self.replay.is_none() && self.backlog.is_empty() && self.live.is_empty();
        (idle && refilled && !self.live.is_closed()).then(|| self.cache.settled(applied))
    }

    /// The kind that is watched.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.cache.write().queues.remove(&self.id);
    }
}
