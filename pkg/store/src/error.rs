//! What can go wrong.

use crate::model::{MAX_VALUE, Revision};

/// Why the store did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The revision is older than the last compaction.
    #[error("revision {asked} has been compacted (oldest is {oldest})")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest revision that can be read.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {asked} is in the future (newest is {newest})")]
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// The newest revision.
        newest: Revision,
    },
    /// The value is over the limit of [`crate::MAX_VALUE`].
    #[error("value of {0} bytes is over the limit of {MAX_VALUE}")]
    TooLarge(usize),
    /// The transaction makes no sense: an empty or overlong key (see [`crate::MAX_KEY`]), or the same key twice.
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// The disk has no space for writes; deletes and compaction still work.
    #[error("no space left for writes: {0}")]
    NoSpace(String),
    /// A write or sync failed, so what is on disk is unknown; nothing is written any more until a restart.
    #[error("the store is poisoned: {0}")]
    Poisoned(String),
    /// The log is damaged before the position that was known durable.
    #[error("{file} is damaged at offset {offset}: {what}")]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The directory is in use, unreadable, or of another format.
    #[error("{0}")]
    Open(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
