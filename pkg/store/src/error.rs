//! What can go wrong.

use crate::limits::MAX_VALUE;
use crate::model::Revision;

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
    /// A value is over the limit of [`crate::MAX_VALUE`], or a transaction over that of [`crate::MAX_TXN`].
    #[error("{0} bytes in one write are over the limit of {MAX_VALUE}")]
    TooLarge(usize),
    /// The transaction makes no sense: an empty or overlong key (see [`crate::MAX_KEY`]), the same key twice, or more writes
    /// than [`crate::MAX_OPS`].
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// The disk has no space for writes; deletes and compaction still work.
    #[error("no space left for writes: {0}")]
    NoSpace(String),
    /// A write or sync failed, so what is on disk is unknown; nothing is written any more until a restart.
    #[error("the store is poisoned: {0}")]
    Poisoned(String),
    /// The log is damaged before the position that was known durable.
    #[error("{file} is damaged at offset {offset}: {what} (`knarr store check` says what would be lost)")]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A value cannot be sealed or opened with the keys there are. Nothing is lost: with the right keys it can be read.
    #[error("{key} cannot be unsealed: {why}")]
    Unsealable {
        /// The key of the value.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The directory is in use, unreadable, or of another format.
    #[error("{0}")]
    Open(String),
    /// The servers that keep the data cannot be reached or do not agree now. What was to be read was not; what was to be
    /// written may have been, or may not.
    #[error("{0}")]
    Unavailable(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
