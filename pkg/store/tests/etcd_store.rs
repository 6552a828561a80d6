//! The contract suite on etcd, over TLS with client certificates, and what only several servers can have.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]
#![allow(missing_docs, unreachable_pub, reason = "the suite's own module")]

mod contract;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use contract::{bytes, delete, list, next, prefix, put, write};
use knarr_store::{Error, EtcdOptions, EtcdStore, Outcome, Range, Shared, Txn};
use knarr_tests::etcd::Etcd;

fn options(etcd: &Etcd, prefix: &str) -> EtcdOptions {
    EtcdOptions {
        servers: etcd.servers(),
        ca_file: Some(etcd.ca_file()),
        cert_file: Some(etcd.cert_file()),
        key_file: Some(etcd.key_file()),
        prefix: prefix.to_owned(),
        root: String::new(),
    }
}

async fn open(etcd: &Etcd, prefix: &str) -> Arc<EtcdStore> {
    EtcdStore::open(options(etcd, prefix)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_contract() {
    let running = RefCell::new(None);
    contract::run(async || {
        let etcd = Etcd::start(1).unwrap();
        let store = open(&etcd, "/registry").await;
        *running.borrow_mut() = Some(etcd);
        store as Shared
    })
    .await;
}

/// Keys, values, revisions of two stores in one etcd have nothing to do with each other, and a list on either server shows
/// what the other one has acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_share_a_prefix_and_nothing_else() {
    let etcd = Etcd::start(1).unwrap();
    let (first, second, other) =
        (open(&etcd, "/registry").await, open(&etcd, "/registry").await, open(&etcd, "/registry2").await);
    let [first, second, other]: [Shared; 3] = [first, second, other];
    let mut watch = second.watch(bytes(""), None).await.unwrap();
    let written = write(&first, [put("a", "1"), put("b", "1")]).await;
    assert_eq!(next(&mut watch).await.revision, written);
    assert_eq!(second.newest().await.unwrap(), written);
    assert_eq!(list(&second, prefix("")).await.len(), 2);
    assert_eq!(list(&other, prefix("")).await, []);

    // The other store's write moves etcd's revision, of which no watch of ours tells: a watch gets there all the same.
    let foreign = write(&other, [put("x", "1")]).await;
    assert!(foreign > written);
    let newest = second.newest().await.unwrap();
    assert!(newest > foreign);
    let mark = next(&mut watch).await;
    assert_eq!((mark.revision, mark.events.len()), (newest, 0));
    assert_eq!(second.newest().await.unwrap(), newest, "nothing more has happened");
    assert_eq!(list(&first, prefix("")).await.len(), 2, "the mark is no key");
    assert_eq!(first.range(Range { limit: 1, ..Range::default() }).await.unwrap().count, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_start_goes_on() {
    let etcd = Etcd::start(1).unwrap();
    let store: Shared = open(&etcd, "/registry").await;
    write(&store, [put("a", "1")]).await;
    let before = write(&store, [delete("a"), put("b", "2")]).await;
    drop(store);
    let store: Shared = open(&etcd, "/registry").await;
    assert!(store.revision() >= before);
    let mut watch = store.watch(bytes(""), Some(2)).await.unwrap();
    assert_eq!((next(&mut watch).await.revision, next(&mut watch).await.revision), (2, before));
}

/// A transaction whose events are more than one message holds is one batch all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_many_messages_is_one() {
    let etcd = Etcd::start(1).unwrap();
    let store: Shared = open(&etcd, "/registry").await;
    let ops = |round: char| (0..100).map(move |key| put(&format!("k{key}"), &round.to_string().repeat(15_000)));
    let mut watch = store.watch(bytes(""), None).await.unwrap();
    for (round, revision) in [('a', 2), ('b', 3)] {
        assert_eq!(write(&store, ops(round).collect::<Vec<_>>()).await, revision);
    }
    // New and old value of each key: more than the 2 MiB that etcd puts in one message.
    for revision in [2, 3] {
        let batch = next(&mut watch).await;
        assert_eq!((batch.revision, batch.events.len()), (revision, 100));
    }
}

/// The preferred server dies, its leadership with it: reads and writes go on with the others, watches without a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_is_replaced_by_the_next() {
    let mut etcd = Etcd::start(3).unwrap();
    let store: Shared = open(&etcd, "/registry").await;
    let mut watch = store.watch(bytes(""), None).await.unwrap();
    let mut written = vec![write(&store, [put("counter", "0")]).await];
    for member in 0..2 {
        etcd.kill(member).unwrap();
        for number in 0..10 {
            // Whether a write arrived that was under way when the server died, nobody knows.
            let txn = Txn { ops: vec![put("counter", &format!("{member} {number}"))], ..Txn::default() };
            match store.txn(txn).await {
                Ok(Outcome::Done(revision)) => written.push(revision),
                Err(Error::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
            store.get(b"counter").await.unwrap().unwrap();
        }
        etcd.restart(member).unwrap();
    }
    assert!(written.len() > 15, "{written:?}");
    let mut told = Vec::new();
    while told.last() != written.last() {
        told.push(next(&mut watch).await.revision);
    }
    let missing: Vec<_> = written.iter().filter(|revision| !told.contains(revision)).collect();
    assert_eq!((missing.len(), told.is_sorted()), (0, true), "missing {missing:?} of {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_waits_for_an_etcd_that_is_away() {
    let mut etcd = Etcd::start(1).unwrap();
    let store: Shared = open(&etcd, "/registry").await;
    let mut watch = store.watch(bytes(""), None).await.unwrap();
    etcd.kill(0).unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(1), watch.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    // The read is under way while there is no etcd.
    let reading = tokio::spawn({
        let store = store.clone();
        async move { store.get(b"a").await }
    });
    etcd.restart(0).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), None);
    let written = write(&store, [put("a", "1")]).await;
    assert_eq!(next(&mut watch).await.revision, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_so() {
    let etcd = Etcd::start(1).unwrap();
    let missing = EtcdOptions { ca_file: Some("/nowhere/ca.crt".into()), ..options(&etcd, "/registry") };
    let refused = EtcdStore::open(missing).await.unwrap_err().to_string();
    assert!(refused.contains("cannot read /nowhere/ca.crt"), "{refused}");
}
