//! `kill -9` at random moments: nothing acknowledged may be missing, relaxed or not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "the suite's own modules")]

mod contract;
mod writer;

use rand::Rng;
use writer::Writer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    writer::child().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..writer::rounds(25, 500) {
        let mut running = Writer::start(directory.path(), &[]);
        running.listen(rand::rng().random_range(1..400));
        let said = running.kill();
        eprintln!("round {round}: {} acknowledged", said.acknowledged.len());
        writer::check(directory.path(), &said, said.newest()).await;
    }
}
