//! What goes in and out of a store: keys, revisions, transactions, ranges, events.

use bytes::Bytes;

/// A point in the history of the store. The first change has revision 2: 1 is the empty store, as in etcd.
pub type Revision = u64;

/// A key, its value, and when it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision that created the key (again, when it had been deleted).
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
    /// How many writes the key has seen since it was created, from 1.
    pub version: u64,
}

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Created or overwritten. `previous` is the value before; `None` when it was created.
    Put {
        /// What is there now.
        now: KeyValue,
        /// What was there before.
        previous: Option<KeyValue>,
    },
    /// Deleted.
    Delete {
        /// What was there before.
        previous: KeyValue,
        /// The revision of the delete.
        revision: Revision,
    },
}

/// All changes of one revision that a watch is interested in, in the order in which the transaction named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Their revision.
    pub revision: Revision,
    /// None when all that is to be said is that nothing is missing up to this revision.
    pub events: Vec<Event>,
}

/// What must be true of a key for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(Bytes),
    /// The key exists and was last written at this revision.
    Unchanged(Bytes, Revision),
}

/// One write of a transaction. A transaction names a key at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates or overwrites.
    Put(Bytes, Bytes),
    /// Deletes; no change when the key does not exist.
    Delete(Bytes),
}

/// How long a write may wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged, and visible, only when it is on disk.
    #[default]
    Durable,
    /// Acknowledged when the kernel has it: survives the process, not a power cut. On disk with the next durable write, or
    /// after at most 30 s. For what is rewritten all the time anyway: node leases, Events.
    Relaxed,
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// Done in one revision.
    pub ops: Vec<Op>,
    /// When it is acknowledged.
    pub durability: Durability,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, at this revision. A transaction that changes nothing takes no revision and answers the current one.
    Done(Revision),
    /// The guard of this position (the first that failed) did not hold; nothing was written. `found` is what is there.
    Refused {
        /// Position in [`Txn::guards`].
        guard: usize,
        /// The key as it is.
        found: Option<KeyValue>,
    },
}

/// Which keys to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First key.
    pub start: Bytes,
    /// First key that is not wanted any more; see [`prefix_end`].
    pub end: Bytes,
    /// At most so many; 0 means all.
    pub limit: usize,
    /// As many as have about so many bytes together, but one at least; 0 means all. For readers of very much.
    pub bytes: usize,
    /// As of this revision; `None` means now.
    pub at: Option<Revision>,
}

/// Keys in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The keys and values.
    pub items: Vec<KeyValue>,
    /// Whether the limit cut the range.
    pub more: bool,
    /// How many keys the range holds from `start` on, the cut ones included. Unknown when [`Range::bytes`] was given.
    pub count: usize,
    /// The revision of which this is the truth: the one asked for, or the newest that readers may see.
    pub revision: Revision,
}

/// The end of the range that holds all keys starting with `prefix`; empty (meaning "no end") when there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}
