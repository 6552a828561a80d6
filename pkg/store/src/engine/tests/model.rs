//! What a store should be, as plainly as possible: every state that there ever was, in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use crate::model::{Batch, Durability, Event, Guard, KeyValue, Op, Outcome, Revision, Txn};

pub(super) type Keys = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The keys after each revision that changed any.
    states: BTreeMap<Revision, Keys>,
    pub(super) batches: BTreeMap<Revision, Batch>,
    pub(super) revision: Revision,
    pub(super) floor: Revision,
    /// Lost revisions: first and last.
    pub(super) gaps: Vec<(Revision, Revision)>,
    /// Everything up to here must survive anything.
    pub(super) durable: Revision,
}

impl Model {
    pub(super) fn new() -> Self {
        let (states, batches) = (BTreeMap::from([(1, Keys::new())]), BTreeMap::new());
        Self { states, batches, revision: 1, floor: 1, gaps: Vec::new(), durable: 1 }
    }

    pub(super) fn at(&self, revision: Revision) -> &Keys {
        self.states.range(..=revision).next_back().unwrap().1
    }

    pub(super) fn now(&self) -> &Keys {
        self.at(self.revision)
    }

    /// Whether the state at a revision can be asked for.
    pub(super) fn readable(&self, at: Revision) -> bool {
        at >= self.floor && !self.gaps.iter().any(|(first, last)| (*first..*last).contains(&at))
    }

    /// Whether a watch can start with a revision.
    pub(super) fn watchable(&self, from: Revision) -> bool {
        from >= self.floor && !self.gaps.iter().any(|(first, last)| from > *first && from <= *last)
    }

    pub(super) fn write(&mut self, txn: &Txn) -> Outcome {
        let mut keys = self.now().clone();
        for (guard, condition) in txn.guards.iter().enumerate() {
            let (found, holds) = match condition {
                Guard::Absent(key) => (keys.get(key), !keys.contains_key(key)),
                Guard::Unchanged(key, at) => (keys.get(key), keys.get(key).is_some_and(|kv| kv.mod_revision == *at)),
            };
            if !holds {
                return Outcome::Refused { guard, found: found.cloned() };
            }
        }
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for op in &txn.ops {
            match op {
                Op::Put(key, value) => {
                    let previous = keys.get(key).cloned();
                    let now = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: previous.as_ref().map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        version: previous.as_ref().map_or(1, |kv| kv.version + 1),
                    };
                    keys.insert(key.clone(), now.clone());
                    events.push(Event::Put { now, previous });
                }
                Op::Delete(key) => {
                    events.extend(keys.remove(key).map(|previous| Event::Delete { previous, revision }));
                }
            }
        }
        if !events.is_empty() {
            self.revision = revision;
            self.states.insert(revision, keys);
            self.batches.insert(revision, Batch { revision, events });
        }
        Outcome::Done(self.revision)
    }

    /// Forgets everything after `last`, which was lost, and goes on at `revision`.
    pub(super) fn lose(&mut self, last: Revision, revision: Revision) {
        self.states.retain(|at, _| *at <= last);
        self.batches.retain(|at, _| *at <= last);
        let end = self.gaps.last().map_or(last, |(_, end)| last.max(*end));
        if revision > end {
            self.gaps.push((end + 1, revision));
        }
        self.revision = revision;
        self.durable = revision;
    }
}

/// Some keys change all the time, some are seldom written again.
fn key(random: &mut StdRng) -> Bytes {
    if random.random_bool(0.03) {
        return format!("cold/{}", random.random_range(0..40)).into();
    }
    let number = random.random_range(0..14);
    format!("{}/{number}", if number % 3 == 0 { "a" } else { "b" }).into()
}

/// Mostly small, sometimes large enough to fill segments.
fn value(random: &mut StdRng) -> Bytes {
    let length = if random.random_bool(0.1) { random.random_range(0..12_000) } else { random.random_range(0..300) };
    vec![random.random::<u8>(); length].into()
}

/// A transaction on few keys, with guards that hold more often than not.
pub(super) fn transaction(random: &mut StdRng, now: &Keys) -> Txn {
    let mut txn = Txn::default();
    if random.random_bool(0.3) {
        txn.durability = Durability::Relaxed;
    }
    for _ in 0..random.random_range(0..=1) {
        let key = key(random);
        txn.guards.push(match now.get(&key) {
            Some(found) if random.random_bool(0.8) => Guard::Unchanged(key, found.mod_revision),
            _ => Guard::Absent(key),
        });
    }
    for _ in 0..[1, 1, 1, 2, 4][random.random_range(0..5)] {
        let key = key(random);
        let named = |op: &Op| matches!(op, Op::Put(other, _) | Op::Delete(other) if *other == key);
        if !txn.ops.iter().any(named) {
            let op = if random.random_bool(0.25) { Op::Delete(key) } else { Op::Put(key, value(random)) };
            txn.ops.push(op);
        }
    }
    txn
}
