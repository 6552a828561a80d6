//! Append-only MVCC key-value store: log (truth), index (sled), watch.
//!
//! The store knows bytes and revisions, no Kubernetes. One [`Revision`] counts all changes of all keys; every change gets
//! the next one. A transaction takes one revision for all keys it writes. [`Store`] is the interface; [`LogStore`] keeps
//! everything in a directory of this machine, [`EtcdStore`] in etcd, for several servers.
//!
//! # One example, by hand
//!
//! A new [`LogStore`] makes `00000001.log`, 8 MiB of zeros after a 64-byte header, and appends an empty batch at 1:64
//! (segment 1, offset 64) that reserves revisions up to 65537: they may from now on be seen by somebody before they are on
//! disk. The index is empty.
//!
//! **`a = one`, durable.** The writer thread takes all transactions that wait (here one), checks their guards, and appends one
//! batch at 1:128:
//!
//! ```text
//! 1:128  batch   durable up to 1:128, revision 2, floor 1, reserved 65538
//! 1:192  record  put a = "one", revision 2, created 2, version 1
//! ```
//!
//! then `fdatasync`. Only now the index gets `a -> (2, 1:192)`, revision 2 becomes visible, watchers of `a` are woken, and
//! the caller has its answer.
//!
//! **`a = two`, relaxed.** A batch at 1:256, whose record at 1:320 says what it overwrites:
//!
//! ```text
//! 1:256  batch   durable up to 1:256, revision 3, floor 1, reserved 65539
//! 1:320  record  put a = "two", revision 3, created 2, version 2, before: (2, 1:192)
//! ```
//!
//! It is written but not synced; the index has `a -> (3, 1:320)` now, revision 3 is visible and answered. Reading `a` at
//! revision 2 starts at 1:320, sees that 3 is too new, and follows *before* to 1:192. So history needs no index.
//!
//! **`kill -9`.** The kernel has both batches. The next start reads the log from where sled's part of the index ends (here from
//! the start), finds zeros at 1:384, syncs, and goes on at revision 3. Nothing is lost, relaxed or not.
//!
//! **A power cut instead.** 1:256 holds zeros, or half a batch. No batch behind it claims that it was durable, so the log is cut
//! there. (Had a later batch said "durable up to 1:384", something safe would be missing: the store would not open, and name
//! the place.) Revision 3 has been seen and may not be given again. The boot id has changed, so the store appends at 1:256
//! that revisions 3 to 65538, the reservation of the last sound batch, are lost, and goes on at 65538.
//!
//! **A watch from revision 2**, which is older than the process: the ring of recent batches does not reach back, so the log is
//! read from the first segment that may hold it. It tells `a = one`, then what comes from now on (65539 ...). A watch from
//! revision 4 is of somebody who has seen 3, which is lost: [`Error::Compacted`], and the client lists again.
//!
//! **`compact(65539)`**, after `a = three` at that revision. The new floor is in the header of the next batch, durably; reads below
//! are refused at once. Upkeep, another thread, later looks at the oldest segment. When it and the four after it hold nothing
//! at or above the floor, what is still the newest of its key is written again at the end, the index is written to sled, and
//! the file goes, or becomes a later segment over what it holds. A record may refer back four segments at most (what it overwrites is copied along if it is older), so no
//! reference that can still be followed ever dangles.

mod engine;
mod error;
mod etcd;
mod index;
mod limits;
mod log;
mod model;
mod repair;
mod sealed;
pub mod snapshot;
mod store;

pub use engine::{LogStore, Options, Stats};
pub use error::Error;
pub use etcd::{EtcdOptions, EtcdStore};
pub use limits::{MAX_KEY, MAX_OPS, MAX_TXN, MAX_VALUE};
pub use model::{Batch, Durability, Event, Guard, KeyValue, Op, Outcome, Page, Range, Revision, Txn, prefix_end};
pub use repair::{Damage, Findings, check, repair};
pub use sealed::{KeyError, Provider, Rules, Sealed, SealingKey, check_readable, is_sealed};
pub use store::{Shared, Store, Watch};
