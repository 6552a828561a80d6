//! What a store still knows when it is opened again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "the suite's own module")]

mod contract;

use std::path::Path;
use std::sync::Arc;

use contract::{bytes, delete, list, next, prefix, put, write};
use knarr_store::{Durability, Error, LogStore, Options, Range, Shared, Store as _, Txn};

fn tiny() -> Options {
    Options { segment_size: 64 << 10, index_batch: 64, ring: 4096, ..Options::default() }
}

fn open(directory: &Path) -> Arc<LogStore> {
    LogStore::open(directory, tiny()).unwrap()
}

/// Ways to end a store, and what is done to its files before it is opened again.
type Ending = (&'static str, bool, fn(&Path));

const ENDINGS: [Ending; 4] = [
    ("closed", true, |_| {}),
    ("dropped", false, |_| {}),
    ("without its index", true, |directory| std::fs::remove_dir_all(directory.join("index")).unwrap()),
    ("with a spoiled index", false, |directory| {
        let file = directory.join("index/db");
        let mut content = std::fs::read(&file).unwrap();
        let third = content.len() / 3;
        content[third..third * 2].fill(0xa5);
        std::fs::write(&file, content).unwrap();
        std::fs::write(directory.join("index.mark"), "clean").unwrap();
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_again() {
    for (name, close, spoil) in ENDINGS {
        let directory = tempfile::tempdir().unwrap();
        let before = {
            let store: Arc<LogStore> = open(directory.path());
            let shared: Shared = store.clone();
            let value = "x".repeat(1000);
            for number in 0..400 {
                write(&shared, [put(&format!("k{}", number % 50), &format!("{number}{value}"))]).await;
            }
            write(&shared, [delete("k7"), put("last", "1")]).await;
            let relaxed = Txn { ops: vec![put("lease", "1")], durability: Durability::Relaxed, ..Txn::default() };
            shared.txn(relaxed).await.unwrap();
            let before = (shared.revision(), list(&shared, prefix("")).await);
            if close {
                store.close().await.unwrap();
            }
            before
        };
        spoil(directory.path());
        let store: Shared = open(directory.path());
        assert_eq!((store.revision(), list(&store, prefix("")).await), before, "{name}");
        let past = store.range(Range { at: Some(300), ..prefix("k7") }).await.unwrap();
        assert_eq!((past.items.len(), past.items[0].version), (1, 6), "{name}");
        let mut watch = store.watch(bytes("k7"), Some(2)).await.unwrap();
        let revisions = [9, 59, 109, 159, 209, 259, 309, 359, 402];
        for revision in revisions {
            assert_eq!(next(&mut watch).await.revision, revision, "{name}");
        }
        assert_eq!(write(&store, [put("k7", "again")]).await, before.0 + 1, "{name}");
        assert_eq!(next(&mut watch).await.revision, before.0 + 1, "{name}");
    }
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let Err(Error::Open(text)) = LogStore::open(directory.path(), tiny()) else { panic!("opened twice") };
    assert!(text.ends_with("is in use by another process"), "{text}");
    drop(store);
    open(directory.path());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let shared: Shared = store.clone();
    write(&shared, [put("a", "1")]).await;
    let mut watch = shared.watch(bytes(""), Some(2)).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 2);
    assert!(watch.next().await.is_none());
    let refused = shared.txn(Txn { ops: vec![put("a", "2")], ..Txn::default() }).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    assert!(matches!(shared.get(b"a").await, Err(Error::Closed)));
    assert!(matches!(shared.watch(bytes(""), None).await, Err(Error::Closed)));
}
