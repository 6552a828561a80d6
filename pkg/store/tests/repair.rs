//! A damaged log on a real file system: what the check says, and what is left after the repair.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use knarr_store::{Error, Findings, LogStore, Op, Options, Range, Revision, Store, Txn};

/// A store of many small segments: 300 keys, some written again, some deleted. The newest revision of each key that was
/// ever written, and whether it is there.
async fn history(directory: &Path) -> BTreeMap<String, (Revision, Option<Bytes>)> {
    let store = LogStore::open(directory, Options { segment_size: 64 << 10, ..Options::default() }).unwrap();
    let mut newest = BTreeMap::new();
    for number in 0..600_u32 {
        let key = format!("/k{:03}", number.wrapping_mul(7) % 300);
        let value = Bytes::from(format!("{number}-").repeat(100));
        let ends = number % 11 == 3;
        let op = if ends { Op::Delete(key.clone().into()) } else { Op::Put(key.clone().into(), value.clone()) };
        store.txn(Txn { ops: vec![op], ..Txn::default() }).await.unwrap();
        newest.insert(key, (store.revision(), (!ends).then_some(value)));
    }
    store.close().await.unwrap();
    newest
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = all.filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    logs.sort();
    logs
}

fn is_lost(findings: &Findings, revision: Revision) -> bool {
    findings.lost.iter().any(|&(first, last)| first <= revision && last.is_none_or(|last| revision <= last))
}

#[tokio::test]
async fn what_can_be_read_is_kept_and_what_cannot_is_told() {
    for (segment, offset, bytes) in
        [(0, 70, 1), (1, 20, 4), (1, 4000, 1), (2, 100, 9000), (0, 0, 64), (3, 30_000, 20_000)]
    {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("store");
        let newest = history(&directory).await;
        let sound = knarr_store::check(&directory).unwrap();
        let there = newest.values().filter(|(_, value)| value.is_some()).count();
        assert_eq!(sound, Findings { damage: Vec::new(), lost: Vec::new(), keys: there });

        let victim = &segments(&directory)[segment];
        let mut content = fs::read(victim).unwrap();
        content[offset..offset + bytes].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(victim, &content).unwrap();
        fs::remove_dir_all(directory.join("index")).unwrap();
        let refused = LogStore::open(&directory, Options::default()).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");

        let findings = knarr_store::check(&directory).unwrap();
        let name = victim.file_name().unwrap().to_str().unwrap();
        assert!(findings.damage.iter().all(|damage| damage.file == name), "{findings:?}");
        assert!(!findings.damage.is_empty());
        let lost: u64 = findings.lost.iter().map(|(first, last)| last.unwrap() - first + 1).sum();
        assert!(lost <= 2 + bytes as u64 / 250, "{lost} revisions for {bytes} bytes: {findings:?}");

        // An earlier repair was interrupted: whatever it left is kept.
        fs::create_dir(parent.path().join("store.repaired")).unwrap();
        fs::write(parent.path().join("store.repaired/left"), "by it").unwrap();
        let (repaired, kept) = knarr_store::repair(&directory).unwrap();
        assert_eq!(fs::read(parent.path().join("store.damaged-1/left")).unwrap(), b"by it");
        assert_eq!(repaired, findings);
        assert_eq!(fs::read(kept.unwrap().join(name)).unwrap(), content, "the damaged one is kept");
        assert_eq!(knarr_store::repair(&directory).unwrap().1, None, "a sound one is left alone");
        let store = LogStore::open(&directory, Options::default()).unwrap();
        for (key, (revision, value)) in newest.iter().filter(|(_, (revision, _))| !is_lost(&findings, *revision)) {
            let found = store.get(key.as_bytes()).await.unwrap();
            let expected = value.as_ref().map(|value| (value.clone(), *revision));
            assert_eq!(found.map(|found| (found.value, found.mod_revision)), expected, "{key}");
        }
        let all = store.range(Range::default()).await.unwrap();
        assert_eq!(all.count, findings.keys);
        let last = newest.values().map(|(revision, _)| *revision).max().unwrap();
        let mut watch = store.watch(Bytes::new(), Some(store.revision() + 1)).await.unwrap();
        store.txn(Txn { ops: vec![Op::Put("/new".into(), "value".into())], ..Txn::default() }).await.unwrap();
        assert!(watch.next().await.unwrap().unwrap().revision > last, "no revision comes twice");
        let old = store.watch(Bytes::new(), Some(last)).await;
        let old = match old {
            Ok(mut watch) => watch.next().await.unwrap().map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(old, Err(Error::Compacted { .. })), "{old:?}");
    }
}

#[tokio::test]
async fn only_a_store_that_is_there_and_not_in_use_is_looked_at() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("store");
    let said = |result: Result<Findings, Error>| result.unwrap_err().to_string();
    assert!(said(knarr_store::check(&directory)).starts_with("there is no store in "));
    assert!(!directory.exists());
    let _newest = history(&directory).await;
    let store = LogStore::open(&directory, Options::default()).unwrap();
    assert!(said(knarr_store::check(&directory)).ends_with("is in use by another process"));
    store.close().await.unwrap();
    drop(store);
    for segment in segments(&directory) {
        fs::write(segment, [1; 100]).unwrap();
    }
    assert_eq!(said(knarr_store::check(&directory)), "no segment has a sound header: there is nothing to go by");
}
