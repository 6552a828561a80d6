//! Append-only MVCC key-value store: log (truth), index (sled), watch.
//!
//! The store knows bytes and revisions, no Kubernetes. One [`Revision`] counts all changes of all keys; every change gets
//! the next one. A transaction takes one revision for all keys it writes. [`Store`] is the interface; [`LogStore`] keeps
//! everything in a directory of this machine.

mod engine;
mod error;
mod index;
mod log;
mod model;
mod store;

pub use engine::{LogStore, Options, Stats};
pub use error::Error;
pub use model::{
    Batch, Durability, Event, Guard, KeyValue, MAX_KEY, MAX_VALUE, Op, Outcome, Page, Range, Revision, Txn, prefix_end,
};
pub use store::{Shared, Store, Watch};
