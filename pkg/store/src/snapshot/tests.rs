//! What is written is read again, and nothing else is taken for it.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{DIGEST, Digest};
use super::*;
use crate::engine::{LogStore, Options};
use crate::model::{Guard, KeyValue, Op, Outcome, Range, Txn};
use crate::store::{Shared, Store};

struct Fixture {
    store: Arc<LogStore>,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(directory.path().join("store"), Options::default()).unwrap();
        Self { store, directory }
    }

    async fn write(&self, op: Op) -> Revision {
        let Outcome::Done(revision) = self.store.txn(Txn { ops: vec![op], ..Txn::default() }).await.unwrap() else {
            panic!("refused")
        };
        revision
    }

    async fn put(&self, key: &str, value: &str) -> Revision {
        self.write(Op::Put(key.to_owned().into(), value.to_owned().into())).await
    }

    async fn items(&self) -> Vec<KeyValue> {
        self.store.range(Range::default()).await.unwrap().items
    }

    async fn save(&self, keys: Option<(Passphrase, Vec<File>)>) -> Vec<u8> {
        let mut out = Vec::new();
        let saving = Saving::begin(self.store.clone()).await.unwrap();
        let summary = saving.write("edge-1", "v1", keys, &mut out).await.unwrap();
        assert_eq!(Reader::open(&out[..]).unwrap().verify().unwrap(), summary);
        assert_eq!(summary.size, out.len() as u64);
        out
    }

    /// Restores beside, opens what came of it.
    fn restored(&self, snapshot: &[u8]) -> (Arc<LogStore>, Revision) {
        let directory = self.directory.path().join("restored");
        let revision = restore(Reader::open(snapshot).unwrap(), &directory, |_| true).unwrap();
        (LogStore::open(directory, Options::default()).unwrap(), revision)
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn files() -> Vec<File> {
    [("pki/ca.key", "secret"), ("node-name", "")]
        .map(|(name, content)| File { name: name.to_owned(), content: content.to_owned() })
        .into()
}

fn verify(bytes: &[u8]) -> Result<Summary, Error> {
    Reader::open(bytes)?.verify()
}

/// What somebody makes of a snapshot who knows how its digest is reckoned.
fn with_right_digest(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - DIGEST);
    let mut digest = Digest::default();
    digest.add(&bytes);
    bytes.extend_from_slice(&digest.value());
    bytes
}

#[tokio::test]
async fn a_snapshot_is_the_store_at_one_revision() {
    let fixture = Fixture::new();
    for number in 0..40 {
        fixture.put(&format!("key-{number:02}"), &"large".repeat(10_000)).await;
    }
    fixture.write(Op::Delete(Bytes::from_static(b"key-07"))).await;
    let revision = fixture.put("key-09", "k8s:enc:aesgcm:v1:key1:x").await;
    let expected = fixture.items().await;
    let saving = Saving::begin(fixture.store.clone()).await.unwrap();
    fixture.put("key-00", "later").await;
    fixture.write(Op::Delete(Bytes::from_static(b"key-39"))).await;
    fixture.put("key-40", "later").await;
    let mut out = Vec::new();
    let summary = saving.write("edge-1", "v1", None, &mut out).await.unwrap();
    assert_eq!((summary.objects, summary.sealed, summary.head.revision), (39, 1, revision));
    assert!(out.len() < 39 * 50_000 / 4, "it is compressed: {}", out.len());
    let read: Vec<_> = Reader::open(&out[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn whatever_was_changed_or_cut_is_recognised() {
    let fixture = Fixture::new();
    fixture.put("a", "one").await;
    fixture.put("b", "two").await;
    for keys in [None, Some((passphrase("correct horse"), files()))] {
        let snapshot = fixture.save(keys).await;
        for position in 0..snapshot.len() {
            let mut flipped = snapshot.clone();
            flipped[position] ^= 1 << (position % 8);
            assert!(verify(&flipped).is_err(), "byte {position} flipped");
            assert!(verify(&snapshot[..position]).is_err(), "cut at {position}");
        }
        let longer = [&snapshot[..], b"x"].concat();
        assert!(matches!(verify(&longer), Err(Error::Damaged("something follows its end"))));
        assert!(matches!(verify(&snapshot[..snapshot.len() - 1]), Err(Error::Cut)));
    }
    assert!(matches!(verify(b""), Err(Error::Foreign)));
    assert!(matches!(verify(b"a file of somebody else's"), Err(Error::Foreign)));
    assert!(matches!(verify(b"knarr snapshot\n\x02\0\0\0"), Err(Error::Format(2))));
}

#[tokio::test]
async fn keys_need_their_passphrase_and_vouch_for_the_rest() {
    let fixture = Fixture::new();
    fixture.put("a", "one").await;
    let snapshot = fixture.save(Some((passphrase("correct horse"), files()))).await;
    assert!(!snapshot.windows(6).any(|window| window == b"secret"));
    let open = |bytes: Vec<u8>| Reader::open(Cursor::new(bytes)).unwrap();
    let mut reader = open(snapshot.clone());
    assert!(matches!(reader.unlock(&passphrase("wrong")), Err(Error::Passphrase)));
    assert_eq!(reader.unlock(&passphrase("correct horse")).unwrap(), files());
    reader.verify().unwrap();

    // The revision in the head, with a digest that fits.
    let mut other = snapshot.clone();
    other[24] ^= 1;
    let mut reader = open(with_right_digest(other));
    assert_eq!(reader.head().revision, Reader::open(&snapshot[..]).unwrap().head().revision ^ 1);
    assert!(matches!(reader.unlock(&passphrase("correct horse")), Err(Error::Passphrase)));

    // The records of another store, with a digest that fits.
    let other = Fixture::new();
    other.put("a", "two").await;
    let foreign = other.save(Some((passphrase("another"), files()))).await;
    let records = |bytes: &[u8]| {
        // Behind magic, format, head and keys.
        let skip = |at: usize| at + 5 + u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        skip(skip(19))
    };
    let forged = [&snapshot[..records(&snapshot)], &foreign[records(&foreign)..]].concat();
    let forged = with_right_digest(forged);
    verify(&forged).unwrap();
    let mut reader = open(forged);
    reader.unlock(&passphrase("correct horse")).unwrap();
    assert!(matches!(reader.verify(), Err(Error::Forged)));
}

#[tokio::test]
async fn a_restored_store_goes_on_above_the_old_one() {
    let fixture = Fixture::new();
    fixture.put("a", "one").await;
    let old = fixture.put("a", "two").await;
    fixture.put("b", "one").await;
    let (items, snapshot) = (fixture.items().await, fixture.save(None).await);
    let (store, revision) = fixture.restored(&snapshot);
    assert!(revision >= old + JUMP && store.revision() >= revision);
    assert_eq!(store.range(Range::default()).await.unwrap().items, items);
    for from in [old, old + 1, old + 1000] {
        let watched = store.watch(Bytes::from_static(b"a"), Some(from)).await;
        assert!(matches!(watched, Err(crate::Error::Compacted { .. })), "{from}: {watched:?}");
    }
    let read = store.range(Range { at: Some(old), ..Range::default() }).await;
    assert!(matches!(read, Err(crate::Error::Compacted { .. })));
    // An object has the revision that its readers know.
    let key = Bytes::from_static(b"a");
    let txn = Txn {
        guards: vec![Guard::Unchanged(key.clone(), old)],
        ops: vec![Op::Put(key, Bytes::from_static(b"three"))],
        ..Txn::default()
    };
    assert!(matches!(store.txn(txn).await.unwrap(), Outcome::Done(now) if now > revision));
    let again = restore(Reader::open(&snapshot[..]).unwrap(), &fixture.directory.path().join("restored"), |_| true);
    assert!(again.unwrap_err().to_string().ends_with("is in use by another process"));
    drop(store);
    let again = restore(Reader::open(&snapshot[..]).unwrap(), &fixture.directory.path().join("restored"), |_| true);
    assert!(again.unwrap_err().to_string().ends_with("has a store"));
}

#[tokio::test]
async fn what_is_not_wanted_or_not_there_is_left_out() {
    let fixture = Fixture::new();
    let empty = fixture.save(None).await;
    assert_eq!(verify(&empty).unwrap().objects, 0);
    fixture.put("a", "one").await;
    fixture.put("b", "one").await;
    let snapshot = fixture.save(None).await;
    let directory = fixture.directory.path().join("restored");
    restore(Reader::open(&snapshot[..]).unwrap(), &directory, |item| item.key == "b").unwrap();
    let store = LogStore::open(&directory, Options::default()).unwrap();
    let items = store.range(Range::default()).await.unwrap().items;
    assert_eq!(items.iter().map(|item| &item.key[..]).collect::<Vec<_>>(), [b"b"]);
}

#[tokio::test]
async fn a_revision_that_is_forgotten_meanwhile_makes_no_snapshot() {
    let fixture = Fixture::new();
    fixture.put("a", "one").await;
    let saving = Saving::begin(fixture.store.clone() as Shared).await.unwrap();
    let now = fixture.put("a", "two").await;
    fixture.store.compact(now).await.unwrap();
    let mut out = Vec::new();
    let failed = saving.write("edge-1", "v1", None, &mut out).await;
    assert!(matches!(failed, Err(Error::Late)), "{failed:?}");
    assert!(matches!(verify(&out), Err(Error::Cut)));
}
