//! Tells watchers what happened: a ring of the latest batches, and who waits for which keys.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::model::{Batch, Event, KeyValue, Revision};

/// The latest batches and the newest revision that readers may see.
#[derive(Debug)]
pub(crate) struct Feed {
    visible: AtomicU64,
    ring: Mutex<Ring>,
    subscribers: Mutex<Vec<Arc<Subscriber>>>,
    capacity: usize,
}

#[derive(Debug)]
struct Ring {
    batches: VecDeque<(Arc<Batch>, usize)>,
    bytes: usize,
    /// The ring holds every batch from this revision on.
    from: Revision,
}

/// One watch, as the feed sees it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    prefix: Bytes,
    /// The first revision with a matching change since the watch last looked.
    news: Mutex<Option<Revision>>,
    wake: Notify,
}

impl Subscriber {
    /// Waits for a matching change, or for the end of the store.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// The first revision with a matching change since the last call.
    pub(crate) fn take_news(&self) -> Option<Revision> {
        lock(&self.news).take()
    }
}

impl Feed {
    pub(crate) fn new(visible: Revision, capacity: usize) -> Self {
        let ring = Ring { batches: VecDeque::new(), bytes: 0, from: visible + 1 };
        Self { visible: AtomicU64::new(visible), ring: Mutex::new(ring), subscribers: Mutex::default(), capacity }
    }

    /// The newest revision that readers may see.
    pub(crate) fn visible(&self) -> Revision {
        self.visible.load(Ordering::Acquire)
    }

    /// Makes batches visible, in order, and wakes who waits for them.
    pub(crate) fn publish(&self, batches: Vec<Batch>) {
        let batches: Vec<_> = batches.into_iter().map(Arc::new).collect();
        let Some(newest) = batches.last().map(|batch| batch.revision) else { return };
        {
            let mut ring = lock(&self.ring);
            for batch in &batches {
                let size = size_of_batch(batch);
                ring.bytes += size;
                ring.batches.push_back((Arc::clone(batch), size));
            }
            while ring.bytes > self.capacity
                && let Some((dropped, size)) = ring.batches.pop_front()
            {
                ring.bytes -= size;
                ring.from = dropped.revision + 1;
            }
            self.visible.store(newest, Ordering::Release);
        }
        for subscriber in lock(&self.subscribers).iter() {
            if let Some(first) = batches.iter().find(|batch| concerns(batch, &subscriber.prefix)) {
                lock(&subscriber.news).get_or_insert(first.revision);
                subscriber.wake.notify_one();
            }
        }
    }

    /// From now on, changes of keys with this prefix are told.
    pub(crate) fn subscribe(&self, prefix: Bytes) -> Arc<Subscriber> {
        let subscriber = Arc::new(Subscriber { prefix, news: Mutex::default(), wake: Notify::new() });
        lock(&self.subscribers).push(Arc::clone(&subscriber));
        subscriber
    }

    pub(crate) fn unsubscribe(&self, subscriber: &Arc<Subscriber>) {
        lock(&self.subscribers).retain(|other| !Arc::ptr_eq(other, subscriber));
    }

    /// Wakes everybody: the store has ended.
    pub(crate) fn wake_all(&self) {
        for subscriber in lock(&self.subscribers).iter() {
            subscriber.wake.notify_one();
        }
    }

    /// The next batches from revision `from` on, at most `limit`; `None` when the ring does not reach back that far.
    pub(crate) fn since(&self, from: Revision, limit: usize) -> Option<Vec<Arc<Batch>>> {
        let ring = lock(&self.ring);
        if from < ring.from {
            return None;
        }
        let start = ring.batches.partition_point(|(batch, _)| batch.revision < from);
        Some(ring.batches.range(start..).take(limit).map(|(batch, _)| Arc::clone(batch)).collect())
    }

    /// How many watches there are, and how many bytes the ring holds.
    pub(crate) fn load(&self) -> (usize, usize) {
        (lock(&self.subscribers).len(), lock(&self.ring).bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key that an event is about.
pub(crate) fn key_of(event: &Event) -> &Bytes {
    match event {
        Event::Put { now, .. } => &now.key,
        Event::Delete { previous, .. } => &previous.key,
    }
}

fn concerns(batch: &Batch, prefix: &[u8]) -> bool {
    batch.events.iter().any(|event| key_of(event).starts_with(prefix))
}

/// The part of a batch that concerns a prefix.
pub(crate) fn part_of(batch: &Batch, prefix: &[u8]) -> Option<Batch> {
    let events: Vec<_> = batch.events.iter().filter(|event| key_of(event).starts_with(prefix)).cloned().collect();
    (!events.is_empty()).then_some(Batch { revision: batch.revision, events })
}

fn size_of_batch(batch: &Batch) -> usize {
    const FIXED: usize = 256;
    let size = |kv: &KeyValue| kv.key.len() + kv.value.len() + FIXED;
    let events = batch.events.iter().map(|event| match event {
        Event::Put { now, previous } => size(now) + previous.as_ref().map_or(0, size),
        Event::Delete { previous, .. } => size(previous),
    });
    FIXED + events.sum::<usize>()
}
