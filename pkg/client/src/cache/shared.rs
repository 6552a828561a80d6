//! One kind's objects, as everybody in the process sees them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use super::cached::Cached;
use super::changes::{Change, Changes, Pending};
use super::key::{Key, path};

/// How long [`Cache::seen`] and [`Cache::until`] wait before they give up: the watch is broken and is being mended.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cache has not caught up with a write in time. Plan again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache has not caught up with a write")]
pub struct Behind;

/// The objects of one kind (or of a selection of it), kept current by one watch. Cloning is cheap; all clones share.
///
/// Objects are handed out as `Arc`s: never hold one across an await for longer than one call.
#[derive(Debug)]
pub struct Cache<T>(pub(super) Arc<Shared<T>>);

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
pub(super) struct Shared<T> {
    state: RwLock<State<T>>,
    /// The newest revision whose effect is in `state`; `None` until the first complete list.
    revision: watch::Sender<Option<u64>>,
    /// Ends the watch with the last user.
    _watching: Option<DropGuard>,
}

#[derive(Debug)]
struct State<T> {
    objects: BTreeMap<Key, Arc<T>>,
    indexes: HashMap<&'static str, Entries<T>>,
    subscribers: Vec<Weak<Pending<T>>>,
}

#[derive(Debug)]
struct Entries<T> {
    of: fn(&T) -> Vec<String>,
    keys: HashMap<String, BTreeSet<Key>>,
}

impl<T: Cached> Cache<T> {
    pub(super) fn new(watching: Option<DropGuard>) -> Self {
        let state = State { objects: BTreeMap::new(), indexes: HashMap::new(), subscribers: Vec::new() };
        Self(Arc::new(Shared { state: RwLock::new(state), revision: watch::Sender::new(None), _watching: watching }))
    }

    /// A cache of fixed objects, which is synced at once and never changes: for tests of what reads caches.
    #[must_use]
    pub fn fixed(objects: impl IntoIterator<Item = T>) -> Self {
        let cache = Self::new(None);
        cache.0.replace(objects.into_iter().map(|object| (object.key(), Arc::new(object))).collect(), 0);
        cache
    }

    /// Completes when the first list is complete.
    pub async fn synced(&self) {
        // The sender is part of `self`, so the wait can only end by its condition.
        let mut revision = self.0.revision.subscribe();
        let _closed = revision.wait_for(Option::is_some).await;
    }

    /// Whether the first list is complete.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.0.revision.borrow().is_some()
    }

    /// Completes when the effect of `revision` (a `resourceVersion` that a write to this kind returned) is in the cache.
    ///
    /// # Errors
    /// [`Behind`] after half a minute: the watch is broken.
    pub async fn seen(&self, revision: &str) -> Result<(), Behind> {
        let revision = super::cached::parse_revision(revision);
        let mut current = self.0.revision.subscribe();
        let wait = current.wait_for(|current| current.is_some_and(|current| current >= revision));
        tokio::time::timeout(PATIENCE, wait).await.map_or(Err(Behind), |_| Ok(()))
    }

    /// Completes when `holds` is true of the object at `key` (`None`: not there). For deletions, whose answers name no
    /// revision.
    ///
    /// # Errors
    /// [`Behind`] after half a minute: the watch is broken, or what was awaited does not come.
    pub async fn until(&self, key: &Key, holds: impl Fn(Option<&T>) -> bool) -> Result<(), Behind> {
        let mut current = self.0.revision.subscribe();
        let wait = current.wait_for(|_| holds(self.0.read().objects.get(key).map(AsRef::as_ref)));
        tokio::time::timeout(PATIENCE, wait).await.map_or(Err(Behind), |_| Ok(()))
    }

    /// The object of that name; `namespace` is empty in cluster scope.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.0.read().objects.get(path(namespace, name).as_str()).cloned()
    }

    /// The object at `key`.
    #[must_use]
    pub fn at(&self, key: &Key) -> Option<Arc<T>> {
        self.0.read().objects.get(key).cloned()
    }

    /// All objects in the order of their keys.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<T>> {
        self.0.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace in the order of their names.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let prefix = format!("{namespace}/");
        let state = self.0.read();
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        state
            .objects
            .range::<str, _>(from)
            .take_while(|(key, _)| key.namespace() == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.read().objects.is_empty()
    }

    /// A way to find objects by what `of` says of them. Whoever asks for a `name` first defines it; the others share it.
    #[must_use]
    pub fn index(&self, name: &'static str, of: fn(&T) -> Vec<String>) -> Index<T> {
        let mut state = self.0.write();
        let State { objects, indexes, .. } = &mut *state;
        indexes.entry(name).or_insert_with(|| {
            let mut entries = Entries { of, keys: HashMap::new() };
            objects.iter().for_each(|(key, object)| entries.insert(key, object));
            entries
        });
        Index { cache: self.clone(), name }
    }

    /// All changes from now on, starting with an addition per object that is there already.
    #[must_use]
    pub fn subscribe(&self) -> Changes<T> {
        let (pending, changes) = Pending::channel();
        let mut state = self.0.write();
        for (key, object) in &state.objects {
            pending.push(Change { key: key.clone(), old: None, new: Some(object.clone()) });
        }
        state.subscribers.push(Arc::downgrade(&pending));
        changes
    }
}

/// A way to find objects of a [`Cache`] other than by name.
#[derive(Clone, Debug)]
pub struct Index<T> {
    cache: Cache<T>,
    name: &'static str,
}

impl<T: Cached> Index<T> {
    /// How many objects carry `value`.
    #[must_use]
    pub fn count(&self, value: &str) -> usize {
        let state = self.cache.0.read();
        state.indexes.get(self.name).and_then(|entries| entries.keys.get(value)).map_or(0, BTreeSet::len)
    }

    /// The objects that carry `value`, in the order of their keys.
    #[must_use]
    pub fn get(&self, value: &str) -> Vec<Arc<T>> {
        let state = self.cache.0.read();
        let keys = state.indexes.get(self.name).and_then(|entries| entries.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
    }
}

impl<T> Entries<T> {
    fn insert(&mut self, key: &Key, object: &T) {
        for value in (self.of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &T) {
        for value in (self.of)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

impl<T: Cached> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State<T>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A complete list: everything else is gone.
    pub(super) fn replace(&self, objects: BTreeMap<Key, Arc<T>>, revision: u64) {
        {
            let mut state = self.write();
            let gone: Vec<Key> = state.objects.keys().filter(|key| !objects.contains_key(*key)).cloned().collect();
            for key in gone {
                state.set(key, None);
            }
            for (key, object) in objects {
                if state.objects.get(&key).is_none_or(|known| known.revision() != object.revision()) {
                    state.set(key, Some(object));
                }
            }
        }
        self.reached(revision);
    }

    /// One object changed; `None` means that it is gone.
    pub(super) fn apply(&self, key: Key, object: Option<Arc<T>>, revision: u64) {
        self.write().set(key, object);
        self.reached(revision);
    }

    /// Nothing changed up to `revision`. Wakes waiters even when the number is the same, since `until` looks at objects.
    pub(super) fn reached(&self, revision: u64) {
        self.revision.send_modify(|current| *current = Some(current.unwrap_or_default().max(revision)));
    }
}

impl<T> State<T> {
    fn set(&mut self, key: Key, object: Option<Arc<T>>) {
        let old = match &object {
            Some(new) => self.objects.insert(key.clone(), new.clone()),
            None => self.objects.remove(&key),
        };
        if old.is_none() && object.is_none() {
            return;
        }
        for entries in self.indexes.values_mut() {
            if let Some(old) = &old {
                entries.remove(&key, old);
            }
            if let Some(new) = &object {
                entries.insert(&key, new);
            }
        }
        self.subscribers.retain(|subscriber| {
            subscriber.upgrade().is_some_and(|pending| {
                pending.push(Change { key: key.clone(), old: old.clone(), new: object.clone() });
                true
            })
        });
    }
}
