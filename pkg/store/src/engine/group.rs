//! Deciding transactions: a group of them is judged one after the other, each seeing those before it, and becomes one batch
//! of the log.

use std::collections::HashMap;

use bytes::Bytes;

use crate::engine::state::{State, key_value};
use crate::error::Error;
use crate::index::Slot;
use crate::limits::written;
use crate::log::append::{Draft, Link};
use crate::log::format::{Kind, Place, Previous, Record};
use crate::model::{Batch, Durability, Event, Guard, KeyValue, Op, Outcome, Revision, Txn};

/// What a key is for the next transaction of the group.
#[derive(Clone, Debug, Default)]
struct Current {
    value: Option<KeyValue>,
    /// The newest record, a delete included.
    newest: Option<Newest>,
}

#[derive(Clone, Debug)]
enum Newest {
    Written(Previous, Record),
    Draft(usize, Revision),
}

/// Transactions that are written together.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    state: &'a State,
    /// Records in older segments are copied instead of referred to.
    horizon: u32,
    pub(crate) revision: Revision,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) batches: Vec<Batch>,
    /// Whether somebody waits for the disk.
    pub(crate) durable: bool,
    pub(crate) writes: u64,
    touched: HashMap<Bytes, Current>,
    /// The values that nobody needs any more once the history before this group is compacted.
    overwritten: Vec<Link>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(state: &'a State, horizon: u32, revision: Revision) -> Self {
        let (drafts, batches, touched) = (Vec::new(), Vec::new(), HashMap::new());
        Self { state, horizon, revision, drafts, batches, durable: false, writes: 0, touched, overwritten: Vec::new() }
    }

    /// Decides one transaction, and adds what it writes.
    pub(crate) fn decide(&mut self, txn: &Txn) -> Result<Outcome, Error> {
        for (guard, condition) in txn.guards.iter().enumerate() {
            let (key, holds): (_, fn(&Option<KeyValue>, Revision) -> bool) = match condition {
                Guard::Absent(key) => (key, |found, _| found.is_none()),
                Guard::Unchanged(key, _) => (key, |found, at| found.as_ref().is_some_and(|kv| kv.mod_revision == at)),
            };
            let expected = if let Guard::Unchanged(_, revision) = condition { *revision } else { 0 };
            let found = self.current(key)?.value;
            if !holds(&found, expected) {
                return Ok(Outcome::Refused { guard, found });
            }
        }
        // Everything that can fail comes before the first change, so that a transaction is whole or absent.
        let before = txn.ops.iter().map(|op| self.current(written(op))).collect::<Result<Vec<_>, _>>()?;
        let revision = self.revision + 1;
        let events: Vec<_> =
            txn.ops.iter().zip(before).filter_map(|(op, current)| self.write(op, current, revision)).collect();
        if !events.is_empty() {
            self.revision = revision;
            self.batches.push(Batch { revision, events });
            self.durable |= txn.durability == Durability::Durable;
            self.writes += 1;
        }
        Ok(Outcome::Done(self.revision))
    }

    /// The index entries of the group, given where its drafts were written.
    pub(crate) fn slots(&self, places: &[Place]) -> Vec<(Bytes, Slot)> {
        let drafts = self.drafts.iter().zip(places).filter(|(draft, _)| draft.kind.is_event());
        drafts
            .map(|(draft, place)| {
                let slot = Slot { revision: draft.revision, place: *place, deleted: draft.kind.is_delete() };
                (draft.key.clone(), slot)
            })
            .collect()
    }

    /// Bytes of the values that the group overwrote.
    pub(crate) fn overwritten_bytes(&self, places: &[Place]) -> u64 {
        let lengths = self.overwritten.iter().map(|link| match link {
            Link::Written(previous) => previous.place.length,
            Link::Draft(index, _) => places.get(*index).map_or(0, |place| place.length),
        });
        lengths.map(u64::from).sum()
    }

    fn current(&mut self, key: &Bytes) -> Result<Current, Error> {
        if let Some(current) = self.touched.get(key) {
            return Ok(current.clone());
        }
        let current = match self.state.newest(key)? {
            None => Current::default(),
            Some((slot, record)) => {
                let value = (!slot.deleted).then(|| key_value(record.clone()));
                let previous = Previous { revision: slot.revision, place: slot.place };
                Current { value, newest: Some(Newest::Written(previous, record)) }
            }
        };
        self.touched.insert(key.clone(), current.clone());
        Ok(current)
    }

    fn write(&mut self, op: &Op, current: Current, revision: Revision) -> Option<Event> {
        let previous = match (op, current.newest) {
            (Op::Delete(_), _) if current.value.is_none() => return None,
            (_, newest) => newest.map(|newest| self.link(newest)),
        };
        let before = current.value;
        if before.is_some() {
            self.overwritten.extend(previous);
        }
        let (key, kind, now) = match op {
            Op::Delete(key) => (key, Kind::Delete, None),
            Op::Put(key, value) => {
                let create_revision = before.as_ref().map_or(revision, |kv| kv.create_revision);
                let version = before.as_ref().map_or(1, |kv| kv.version + 1);
                let now = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision,
                    mod_revision: revision,
                    version,
                };
                (key, Kind::Put, Some(now))
            }
        };
        let newest = Some(Newest::Draft(self.drafts.len(), revision));
        self.drafts.push(Draft {
            kind,
            key: key.clone(),
            value: now.as_ref().map(|kv| kv.value.clone()).unwrap_or_default(),
            revision,
            create_revision: now.as_ref().map_or(0, |kv| kv.create_revision),
            version: now.as_ref().map_or(0, |kv| kv.version),
            previous,
        });
        self.touched.insert(key.clone(), Current { value: now.clone(), newest });
        match now {
            Some(now) => Some(Event::Put { now, previous: before }),
            None => before.map(|previous| Event::Delete { previous, revision }),
        }
    }

    /// What a new record says about the one it overwrites, which is copied if it is too far back.
    fn link(&mut self, newest: Newest) -> Link {
        match newest {
            Newest::Draft(index, revision) => Link::Draft(index, revision),
            Newest::Written(previous, _) if previous.place.position.segment >= self.horizon => Link::Written(previous),
            Newest::Written(previous, record) => {
                self.drafts.push(Draft {
                    kind: if record.head.kind.is_delete() { Kind::CopiedDelete } else { Kind::Copied },
                    key: record.key,
                    value: record.value,
                    revision: record.head.revision,
                    create_revision: record.head.create_revision,
                    version: record.head.version,
                    previous: record.head.previous.map(Link::Written),
                });
                Link::Draft(self.drafts.len() - 1, previous.revision)
            }
        }
    }
}
