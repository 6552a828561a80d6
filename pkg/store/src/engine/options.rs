//! What can be chosen when a store is opened, and what it tells about itself.

use std::time::Duration;

use crate::model::Revision;

/// How a store is run. The defaults are right for a node; tests make everything small.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment of the log in bytes. Disk is reclaimed in whole segments; a store has
    /// never less than four of them, and about eight before it reclaims any. At least 64 KiB.
    pub segment_size: u32,
    /// Bytes of the index that sled may keep in memory, by its own reckoning: it takes several times as much.
    pub index_cache: u64,
    /// How many index entries may be in memory only before they are written to sled.
    pub index_batch: usize,
    /// Bytes of recent changes kept for watchers; who falls further behind reads the log.
    pub ring: usize,
    /// How long a relaxed write may wait for the disk.
    pub relaxed_delay: Duration,
    /// How often a full disk is asked whether there is space again.
    pub full_retry: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: 8 << 20,
            index_cache: 1 << 20,
            index_batch: 8 * 1024,
            ring: 2 << 20,
            relaxed_delay: Duration::from_secs(30),
            full_retry: Duration::from_secs(1),
        }
    }
}

/// A look at a running store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest revision that readers may see.
    pub revision: Revision,
    /// The newest revision on disk.
    pub durable_revision: Revision,
    /// The oldest revision that can be read.
    pub oldest_revision: Revision,
    /// Files of the log.
    pub segments: usize,
    /// Bytes of those files.
    pub log_bytes: u64,
    /// Bytes in the log that a compaction could not free.
    pub live_bytes: u64,
    /// Index entries that are not in sled yet.
    pub index_waiting: usize,
    /// Running watches.
    pub watches: usize,
    /// Bytes of recent changes kept for them.
    pub ring_bytes: usize,
    /// Transactions that wrote something, since the start.
    pub writes: u64,
    /// How often the log was synced for them.
    pub syncs: u64,
    /// Whether writes are refused for lack of space.
    pub full: bool,
}
