//! The contract suite on the log store, with segments and memory so small that everything rolls and spills.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]
#![allow(missing_docs, unreachable_pub, reason = "the suite's own module")]

mod contract;

use knarr_store::{LogStore, Options, Shared};

use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_store_keeps_the_contract() {
    keeps_the_contract(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tiny_log_store_keeps_the_contract() {
    let tiny = Options { segment_size: 64 << 10, index_batch: 8, ring: 4096, ..Options::default() };
    keeps_the_contract(tiny).await;
}

async fn keeps_the_contract(options: Options) {
    let directories = std::cell::RefCell::new(Vec::<TempDir>::new());
    contract::run(async || {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory, options.clone()).unwrap();
        directories.borrow_mut().push(directory);
        store as Shared
    })
    .await;
}
