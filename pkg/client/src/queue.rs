//! A work queue of keys.
//!
//! The promises are those of client-go's `workqueue`: a key that is added many times before somebody takes it is handed out
//! once; a key that is being worked on is not handed out to a second worker, but is again after the first has finished when
//! it was added meanwhile; a delay never hides an earlier one.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knarr_base::backoff::Backoff;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The first delay after a failure, doubled by each further one.
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// No key waits longer. Upstream's cap is 1000 s; on one machine causes pass sooner and a late retry is what hurts.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// See the module's page.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    /// In `ready`, or added while being worked on.
    dirty: HashSet<T>,
    working: HashSet<T>,
    delayed: BTreeSet<(Instant, T)>,
    due: HashMap<T, Instant>,
    failures: HashMap<T, Backoff>,
}

impl<T: Clone + Eq + Hash + Ord> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            delayed: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    /// Asks for work on `key` as soon as possible.
    pub fn add(&self, key: T) {
        self.lock().add(key);
        self.arrived.notify_one();
    }

    /// Asks for work on `key` after `delay`, unless it is due sooner already.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.lock().delay(key, Instant::now() + delay);
        self.arrived.notify_one();
    }

    /// Asks for work on `key` after a delay that grows with each failure since the last [`Queue::forget`], and returns it.
    pub fn retry(&self, key: T) -> Duration {
        let mut state = self.lock();
        let backoff = state.failures.entry(key.clone()).or_insert_with(|| Backoff::new(FIRST_RETRY, LAST_RETRY));
        let delay = backoff.delay();
        state.delay(key, Instant::now() + delay);
        drop(state);
        self.arrived.notify_one();
        delay
    }

    /// Work on `key` has succeeded: its next failure starts with a short delay again.
    pub fn forget(&self, key: &T) {
        self.lock().failures.remove(key);
    }

    /// Waits for a key to work on. Cancel-safe. [`Queue::done`] must follow.
    pub async fn next(&self) -> T {
        loop {
            let wake = {
                let mut state = self.lock();
                if let Some(key) = state.take(Instant::now()) {
                    if !state.ready.is_empty() {
                        self.arrived.notify_one();
                    }
                    return key;
                }
                state.delayed.first().map(|(due, _)| *due)
            };
            match wake {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.arrived.notified() => {}
                },
                None => self.arrived.notified().await,
            }
        }
    }

    /// Work on `key` has ended, in success or failure.
    pub fn done(&self, key: &T) {
        if self.lock().done(key) {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Eq + Hash + Ord> State<T> {
    fn add(&mut self, key: T) {
        if let Some(due) = self.due.remove(&key) {
            self.delayed.remove(&(due, key.clone()));
        }
        if self.dirty.insert(key.clone()) && !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: T, due: Instant) {
        if self.dirty.contains(&key) || self.due.get(&key).is_some_and(|earlier| *earlier <= due) {
            return;
        }
        if let Some(later) = self.due.insert(key.clone(), due) {
            self.delayed.remove(&(later, key.clone()));
        }
        self.delayed.insert((due, key));
    }

    fn take(&mut self, now: Instant) -> Option<T> {
        while self.delayed.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.delayed.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: &T) -> bool {
        self.working.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.ready.push_back(key.clone());
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at_once(queue: &Queue<&'static str>) -> Option<&'static str> {
        tokio::time::timeout(Duration::ZERO, queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_handed_out_once_and_again_after_it_changed_meanwhile() {
        let queue = Queue::new();
        for key in ["a", "b", "a"] {
            queue.add(key);
        }
        assert_eq!(at_once(&queue).await, Some("a"));
        queue.add("a");
        assert_eq!(at_once(&queue).await, Some("b"));
        assert_eq!(at_once(&queue).await, None, "a is being worked on");
        queue.done(&"a");
        assert_eq!(at_once(&queue).await, Some("a"));
        queue.done(&"a");
        queue.done(&"b");
        assert_eq!(at_once(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(7));
        queue.add_after("b", Duration::from_secs(5));
        assert_eq!((queue.next().await, start.elapsed().as_secs()), ("a", 3));
        assert_eq!((queue.next().await, start.elapsed().as_secs()), ("b", 5));
        queue.done(&"a");
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.ok(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn adding_replaces_a_delay() {
        let queue = Queue::new();
        queue.add_after("a", Duration::from_secs(10));
        queue.add("a");
        assert_eq!(at_once(&queue).await, Some("a"));
        queue.done(&"a");
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.ok(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_until_forgotten() {
        let queue = Queue::new();
        let mut waits = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.retry("a");
            queue.next().await;
            queue.done(&"a");
            waits.push(start.elapsed().as_millis());
        }
        assert!(waits[0] >= 5 && waits[3] >= 40 && waits[3] <= 50, "{waits:?}");
        queue.forget(&"a");
        let start = Instant::now();
        queue.retry("a");
        queue.next().await;
        assert!(start.elapsed() <= Duration::from_millis(8));
    }

    #[tokio::test(start_paused = true)]
    async fn two_waiting_workers_share_the_keys() {
        let queue = std::sync::Arc::new(Queue::new());
        let workers: Vec<_> = (0..2)
            .map(|_| {
                tokio::spawn({
                    let queue = queue.clone();
                    async move { queue.next().await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.add("a");
        queue.add("b");
        let mut taken = Vec::new();
        for worker in workers {
            taken.push(worker.await.unwrap());
        }
        taken.sort_unstable();
        assert_eq!(taken, ["a", "b"]);
    }
}
