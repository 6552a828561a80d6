//! Subscriptions to a cache.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Key;

/// What happened to one object since the subscriber last heard of it.
#[derive(Debug)]
pub struct Change<T> {
    /// Which object.
    pub key: Key,
    /// What the subscriber was told last; `None` when the object is new to it.
    pub old: Option<Arc<T>>,
    /// What is there now; `None` after a deletion. Its UID may differ from that of `old`: the object was deleted and
    /// another one created while the subscriber was busy.
    pub new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// The latest known form of the object.
    ///
    /// # Panics
    /// Never: a change has at least one side.
    #[must_use]
    pub fn latest(&self) -> &Arc<T> {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change without an object is not delivered"),
        }
    }

    /// Both sides that exist, the old one first.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(&self.new)
    }
}

/// The changes of a cache, starting with an addition per object that is there already.
///
/// Changes of one object are merged while the subscriber is busy, so a slow one costs at most one entry per object, never
/// blocks the cache, and always learns the last state.
#[derive(Debug)]
pub struct Changes<T>(Arc<Pending<T>>);

impl<T> Changes<T> {
    /// Waits for the next change. Cancel-safe. Changes of different objects come in the order in which they happened first.
    pub async fn next(&mut self) -> Change<T> {
        loop {
            if let Some(change) = self.ready() {
                return change;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next change if there is one already.
    pub fn ready(&mut self) -> Option<Change<T>> {
        self.0.lock().pop()
    }
}

/// The sending side, owned weakly by the cache.
#[derive(Debug)]
pub(super) struct Pending<T> {
    merged: Mutex<Merged<T>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Merged<T> {
    order: VecDeque<Key>,
    changes: HashMap<Key, Change<T>>,
}

impl<T> Pending<T> {
    pub(super) fn channel() -> (Arc<Self>, Changes<T>) {
        let merged = Mutex::new(Merged { order: VecDeque::new(), changes: HashMap::new() });
        let pending = Arc::new(Self { merged, arrived: Notify::new() });
        (pending.clone(), Changes(pending))
    }

    pub(super) fn push(&self, change: Change<T>) {
        self.lock().merge(change);
        self.arrived.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Merged<T>> {
        self.merged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Merged<T> {
    fn merge(&mut self, change: Change<T>) {
        let Some(known) = self.changes.get_mut(&change.key) else {
            self.order.push_back(change.key.clone());
            self.changes.insert(change.key.clone(), change);
            return;
        };
        known.new = change.new;
        if known.old.is_none() && known.new.is_none() {
            self.changes.remove(&change.key);
        }
    }

    fn pop(&mut self) -> Option<Change<T>> {
        loop {
            let key = self.order.pop_front()?;
            if let Some(change) = self.changes.remove(&key) {
                return Some(change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, old: Option<u32>, new: Option<u32>) -> Change<u32> {
        Change { key: Key::new("", name), old: old.map(Arc::new), new: new.map(Arc::new) }
    }

    fn drained(changes: &mut Changes<u32>) -> Vec<(String, Option<u32>, Option<u32>)> {
        std::iter::from_fn(|| changes.ready())
            .map(|change| (change.key.to_string(), change.old.as_deref().copied(), change.new.as_deref().copied()))
            .collect()
    }

    #[test]
    fn a_busy_subscriber_gets_the_last_state_once() {
        let (pending, mut changes) = Pending::channel();
        pending.push(change("a", None, Some(1)));
        pending.push(change("b", Some(1), Some(2)));
        pending.push(change("a", Some(1), Some(2)));
        pending.push(change("b", Some(2), None));
        assert_eq!(drained(&mut changes), [("a".into(), None, Some(2)), ("b".into(), Some(1), None)]);
        assert_eq!(drained(&mut changes), []);
    }

    #[test]
    fn an_object_that_came_and_went_is_not_mentioned() {
        let (pending, mut changes) = Pending::channel();
        pending.push(change("a", None, Some(1)));
        pending.push(change("a", Some(1), None));
        assert_eq!(drained(&mut changes), []);
        pending.push(change("a", None, Some(3)));
        assert_eq!(drained(&mut changes), [("a".into(), None, Some(3))]);
    }

    #[test]
    fn a_replaced_object_shows_both_sides() {
        let (pending, mut changes) = Pending::channel();
        pending.push(change("a", Some(1), None));
        pending.push(change("a", None, Some(9)));
        assert_eq!(drained(&mut changes), [("a".into(), Some(1), Some(9))]);
    }
}
