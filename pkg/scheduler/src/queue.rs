//! The pods that wait for a node.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use knarr_base::backoff::Backoff;
use knarr_client::cache::Key;
use tokio::time::Instant;

use crate::pod::PodInfo;

/// Upstream's `podInitialBackoffSeconds`.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Upstream's `podMaxBackoffSeconds`.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Higher priority first, then first come, first served.
type Rank = (std::cmp::Reverse<i32>, u64);

#[derive(Debug)]
struct Waiting {
    pod: PodInfo,
    rank: Rank,
    backoff: Backoff,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Takes part in the next decisions.
    Ready,
    /// Was refused; something that may help has happened; ready when its back-off is over.
    BackingOff(Instant),
    /// Was refused; nothing that may help has happened. `until` is when its back-off is over.
    Refused { until: Instant },
}

/// The pods without a node. A refused pod is tried again when the cluster has changed, but not before its back-off is over.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: HashMap<Key, Waiting>,
    ready: BTreeMap<Rank, Key>,
    backing_off: BTreeMap<(Instant, Rank), Key>,
    /// Refused pods that look at their neighbours.
    refused_related: HashSet<Key>,
    arrivals: u64,
}

impl Queue {
    /// A pod came or changed. A refused pod whose spec changed is tried at once.
    pub(crate) fn set(&mut self, pod: PodInfo) {
        let key = pod.key.clone();
        match self.waiting.get_mut(&key) {
            Some(known) if known.pod.uid() == pod.uid() => {
                let changed =
                    known.pod.pod.spec != pod.pod.spec || known.pod.pod.metadata.labels != pod.pod.metadata.labels;
                known.pod = pod;
                if changed && known.state != State::Ready {
                    self.make_ready(&key);
                }
            }
            _ => {
                self.remove(&key);
                self.arrivals += 1;
                let rank = (std::cmp::Reverse(pod.priority()), self.arrivals);
                let backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
                self.ready.insert(rank, key.clone());
                self.waiting.insert(key, Waiting { pod, rank, backoff, state: State::Ready });
            }
        }
    }

    /// The pod has gone or got a node.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.refused_related.remove(key);
        if let Some(waiting) = self.waiting.remove(key) {
            self.unlist(&waiting.state, waiting.rank);
        }
    }

    /// The most important pod that may be decided about; it stays in the queue until it is removed or refused.
    pub(crate) fn next(&mut self, now: Instant) -> Option<PodInfo> {
        while let Some((&(due, _), key)) = self.backing_off.first_key_value() {
            if due > now {
                break;
            }
            let key = key.clone();
            self.make_ready(&key);
        }
        let (_, key) = self.ready.first_key_value()?;
        self.waiting.get(key).map(|waiting| waiting.pod.clone())
    }

    /// When [`Queue::next`] may have something that it does not have now.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.backing_off.first_key_value().map(|(&(due, _), _)| due)
    }

    /// No node fits the pod, or it could not be bound.
    pub(crate) fn refuse(&mut self, key: &Key, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        let until = now + waiting.backoff.delay();
        let old = std::mem::replace(&mut waiting.state, State::Refused { until });
        let rank = waiting.rank;
        if waiting.pod.relations.is_some() {
            self.refused_related.insert(key.clone());
        }
        self.unlist(&old, rank);
    }

    /// Something in the cluster changed that may make room: all refused pods are tried again, each after its back-off.
    pub(crate) fn retry_all(&mut self) {
        for (key, waiting) in &mut self.waiting {
            if let State::Refused { until } = waiting.state {
                waiting.state = State::BackingOff(until);
                self.backing_off.insert((until, waiting.rank), key.clone());
            }
        }
    }

    /// A pod came to a node, or has other labels: those that look at their neighbours are tried again.
    pub(crate) fn retry_related(&mut self) {
        let keys: Vec<Key> = self.refused_related.drain().collect();
        for key in keys {
            self.retry(&key);
        }
    }

    /// The pod is tried again after its back-off, whatever the cluster does.
    pub(crate) fn retry(&mut self, key: &Key) {
        if let Some(waiting) = self.waiting.get_mut(key)
            && let State::Refused { until } = waiting.state
        {
            waiting.state = State::BackingOff(until);
            self.backing_off.insert((until, waiting.rank), key.clone());
        }
    }

    fn make_ready(&mut self, key: &Key) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            let (old, rank) = (std::mem::replace(&mut waiting.state, State::Ready), waiting.rank);
            self.unlist(&old, rank);
            self.ready.insert(rank, key.clone());
        }
    }

    fn unlist(&mut self, state: &State, rank: Rank) {
        match state {
            State::Ready => drop(self.ready.remove(&rank)),
            State::BackingOff(due) => drop(self.backing_off.remove(&(*due, rank))),
            State::Refused { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::info;
    use serde_json::json;

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| {
            let pod = queue.next(now)?;
            queue.remove(&pod.key);
            Some(pod.key.name().to_owned())
        })
        .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn priority_first_then_age() {
        let mut queue = Queue::default();
        for (name, priority) in [("low", 0), ("first", 10), ("second", 10), ("top", 1000)] {
            queue.set(info(name, json!({"containers": [], "priority": priority})));
        }
        assert_eq!(names(&mut queue, Instant::now()), ["top", "first", "second", "low"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_pod_waits_for_a_change_and_for_its_back_off() {
        let mut queue = Queue::default();
        let pod = info("p", json!({"containers": []}));
        queue.set(pod.clone());
        let start = Instant::now();
        queue.refuse(&pod.key, start);
        let later = start + Duration::from_secs(60);
        assert!(queue.next(later).is_none(), "nothing has changed");
        queue.retry_all();
        assert!(queue.next(start).is_none(), "backing off");
        assert!(queue.due().unwrap() >= start + FIRST_RETRY);
        assert!(queue.next(later).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_pod_is_tried_at_once_and_a_new_one_of_its_name_is_new() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(info("p", json!({"containers": []})));
        queue.refuse(&info("p", json!({"containers": []})).key, now);
        queue.set(info("p", json!({"containers": [], "nodeSelector": {}})));
        assert!(queue.next(now).is_some());
        queue.refuse(&info("p", json!({"containers": []})).key, now);
        let mut reborn = crate::fixtures::pod("p", json!({"containers": []}));
        reborn.metadata.uid = Some("other".to_owned());
        queue.set(PodInfo::new(std::sync::Arc::new(reborn)));
        assert_eq!(queue.next(now).unwrap().uid(), "other");
    }
}
