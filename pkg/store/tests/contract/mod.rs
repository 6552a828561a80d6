//! What every store promises, written once and run on every implementation: `run(fresh)` with a function that makes a new,
//! empty store for each test. Values and texts are checked as a user of the trait sees them.

mod direct;
mod reads;

use std::time::Duration;

use bytes::Bytes;
use knarr_store::{
    Batch, Durability, Error, Event, Guard, KeyValue, MAX_KEY, MAX_VALUE, Op, Outcome, Range, Revision, Shared, Txn,
    Watch, prefix_end,
};

/// Runs the whole suite.
pub async fn run(fresh: impl AsyncFn() -> Shared) {
    an_empty_store(fresh().await).await;
    revisions_count_changes(fresh().await).await;
    guards_are_compared(fresh().await).await;
    a_transaction_happens_whole_or_not_at_all(fresh().await).await;
    nonsense_is_refused(fresh().await).await;
    ranges_are_cut_and_counted(fresh().await).await;
    ranges_of_some_bytes_are_read_to_the_end(fresh().await).await;
    ranges_see_the_past(fresh().await).await;
    keys_are_bytes(fresh().await).await;
    watches_see_everything_once_and_in_order(fresh().await).await;
    watches_resume_from_any_revision(fresh().await).await;
    watches_see_their_prefix_only(fresh().await).await;
    a_slow_watch_misses_nothing(fresh().await).await;
    compaction_forgets_only_the_past(fresh().await).await;
    the_future_is_refused(fresh().await).await;
    one_of_many_rivals_wins(fresh().await).await;
    relaxed_writes_are_seen_at_once(fresh().await).await;
    reads::run(async || direct::Direct(fresh().await)).await;
}

pub fn put(key: &str, value: &str) -> Op {
    Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
}

pub fn delete(key: &str) -> Op {
    Op::Delete(Bytes::copy_from_slice(key.as_bytes()))
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Writes without guards; answers the revision.
pub async fn write(store: &Shared, ops: impl Into<Vec<Op>>) -> Revision {
    let txn = Txn { ops: ops.into(), ..Txn::default() };
    match store.txn(txn).await.unwrap() {
        Outcome::Done(revision) => revision,
        refused => panic!("no guards, and yet {refused:?}"),
    }
}

pub fn prefix(start: &str) -> Range {
    Range { start: bytes(start), end: prefix_end(start.as_bytes()), ..Range::default() }
}

/// Keys and values of a range, as text.
pub async fn list(store: &Shared, range: Range) -> Vec<(String, String)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    store.range(range).await.unwrap().items.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

/// The next batch of a watch, which must come soon.
pub async fn next(watch: &mut Watch) -> Batch {
    let next = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    next.expect("no batch came").expect("the watch ended").unwrap()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `+key=value` and `-key` for each event, with what was there before in parentheses.
fn told(batch: &Batch) -> String {
    let text = |kv: &KeyValue| String::from_utf8_lossy(&kv.value).into_owned();
    let events = batch.events.iter().map(|event| match event {
        Event::Put { now, previous } => {
            assert_eq!(now.mod_revision, batch.revision);
            let key = String::from_utf8_lossy(&now.key).into_owned();
            let before = previous.as_ref().map_or(String::new(), |kv| format!("({})", text(kv)));
            format!("+{key}={}{before}", text(now))
        }
        Event::Delete { previous, revision } => {
            assert_eq!(*revision, batch.revision);
            format!("-{}({})", String::from_utf8_lossy(&previous.key), text(previous))
        }
    });
    format!("{}:{}", batch.revision, events.collect::<Vec<_>>().join(","))
}

async fn an_empty_store(store: Shared) {
    assert_eq!(store.revision(), 1);
    assert_eq!(store.get(b"a").await.unwrap(), None);
    let page = store.range(prefix("")).await.unwrap();
    assert_eq!((page.items.len(), page.count, page.more, page.revision), (0, 0, false, 1));
}

async fn revisions_count_changes(store: Shared) {
    assert_eq!(write(&store, [put("a", "1")]).await, 2);
    assert_eq!(write(&store, [put("a", "2"), put("b", "1")]).await, 3);
    assert_eq!(write(&store, [delete("nobody")]).await, 3, "nothing changed");
    assert_eq!(write(&store, []).await, 3, "nothing changed");
    let a = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((a.value.as_ref(), a.create_revision, a.mod_revision, a.version), (b"2".as_slice(), 2, 3, 2));
    assert_eq!(write(&store, [delete("a"), put("c", "")]).await, 4);
    assert_eq!(store.get(b"a").await.unwrap(), None);
    assert_eq!(store.get(b"c").await.unwrap().unwrap().value, "");
    assert_eq!(write(&store, [put("a", "3")]).await, 5);
    let a = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((a.create_revision, a.mod_revision, a.version), (5, 5, 1), "created again");
    assert_eq!(store.revision(), 5);
    assert_eq!(store.durable_revision(), 5);
}

async fn guards_are_compared(store: Shared) {
    write(&store, [put("a", "1")]).await;
    let guarded = |guards: &[Guard]| Txn { guards: guards.to_vec(), ops: vec![put("x", "x")], ..Txn::default() };
    let a = store.get(b"a").await.unwrap();
    let (absent, unchanged) = (|key| Guard::Absent(bytes(key)), |key, at| Guard::Unchanged(bytes(key), at));
    for (guards, expected) in [
        (vec![absent("a")], Outcome::Refused { guard: 0, found: a.clone() }),
        (vec![unchanged("a", 1)], Outcome::Refused { guard: 0, found: a.clone() }),
        (vec![unchanged("b", 2)], Outcome::Refused { guard: 0, found: None }),
        (vec![unchanged("a", 2), absent("b"), unchanged("b", 0)], Outcome::Refused { guard: 2, found: None }),
        (vec![unchanged("a", 2), absent("b")], Outcome::Done(3)),
    ] {
        assert_eq!(store.txn(guarded(&guards)).await.unwrap(), expected, "{guards:?}");
    }
    write(&store, [delete("a")]).await;
    let outcome = store.txn(guarded(&[unchanged("a", 2)])).await.unwrap();
    assert_eq!(outcome, Outcome::Refused { guard: 0, found: None });
    assert_eq!(store.txn(guarded(&[absent("a")])).await.unwrap(), Outcome::Done(5));
}

async fn a_transaction_happens_whole_or_not_at_all(store: Shared) {
    write(&store, [put("a", "1"), put("b", "1"), put("c", "1")]).await;
    let ops = vec![put("a", "2"), delete("b"), put("d", "2")];
    let refused = Txn { guards: vec![Guard::Absent(bytes("c"))], ops: ops.clone(), ..Txn::default() };
    assert!(matches!(store.txn(refused).await.unwrap(), Outcome::Refused { guard: 0, .. }));
    assert_eq!(list(&store, prefix("")).await, pairs(&[("a", "1"), ("b", "1"), ("c", "1")]));
    write(&store, ops).await;
    assert_eq!(list(&store, prefix("")).await, pairs(&[("a", "2"), ("c", "1"), ("d", "2")]));
}

async fn nonsense_is_refused(store: Shared) {
    let long = "k".repeat(MAX_KEY + 1);
    let big = Op::Put(bytes("big"), vec![b'x'; MAX_VALUE + 1].into());
    for ops in [vec![put("", "x")], vec![put(&long, "x")], vec![put("a", "1"), delete("a")]] {
        let refused = store.txn(Txn { ops, ..Txn::default() }).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let refused = store.txn(Txn { ops: vec![put("a", "1"), big], ..Txn::default() }).await;
    assert!(matches!(refused, Err(Error::TooLarge(size)) if size == MAX_VALUE + 1), "{refused:?}");
    assert_eq!(store.revision(), 1);
    let fits = Op::Put(vec![b'k'; MAX_KEY].into(), vec![b'x'; MAX_VALUE].into());
    assert_eq!(write(&store, [fits]).await, 2);
    assert_eq!(store.range(prefix("")).await.unwrap().items[0].value.len(), MAX_VALUE);
}

async fn ranges_are_cut_and_counted(store: Shared) {
    for key in ["b/1", "a/2", "a/10", "a/1", "c", "a"] {
        write(&store, [put(key, key)]).await;
    }
    for (start, end, limit, expected, more, count) in [
        ("a/", "a0", 0, vec!["a/1", "a/10", "a/2"], false, 3),
        ("a/", "a0", 2, vec!["a/1", "a/10"], true, 3),
        ("a/", "a0", 3, vec!["a/1", "a/10", "a/2"], false, 3),
        ("a/10\0", "a0", 2, vec!["a/2"], false, 1),
        ("", "", 1, vec!["a"], true, 6),
        ("b", "", 0, vec!["b/1", "c"], false, 2),
        ("c", "c", 0, vec![], false, 0),
        ("d", "c", 0, vec![], false, 0),
    ] {
        let range = Range { start: bytes(start), end: bytes(end), limit, ..Range::default() };
        let page = store.range(range).await.unwrap();
        let keys: Vec<_> = page.items.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
        assert_eq!(
            (keys, page.more, page.count),
            (expected.iter().map(|key| (*key).to_owned()).collect(), more, count)
        );
        assert_eq!(page.revision, 7);
    }
}

async fn ranges_of_some_bytes_are_read_to_the_end(store: Shared) {
    let value = "v".repeat(40_000);
    for key in ["a", "b", "c", "d", "e"] {
        write(&store, [put(key, &value)]).await;
    }
    write(&store, [put("aa", "late")]).await;
    write(&store, [delete("b")]).await;
    for bytes in [1, 90_000, 1 << 30] {
        let (mut keys, mut start, mut pages) = (Vec::new(), Bytes::new(), 0);
        loop {
            let page = store.range(Range { start, bytes, at: Some(6), ..Range::default() }).await.unwrap();
            pages += 1;
            keys.extend(page.items.iter().map(|item| String::from_utf8_lossy(&item.key).into_owned()));
            match page.items.last().filter(|_| page.more) {
                Some(last) => start = [&last.key[..], &[0]].concat().into(),
                None => break,
            }
        }
        assert_eq!(keys, ["a", "b", "c", "d", "e"], "{bytes}");
        assert_eq!(pages > 1, bytes < 1 << 30, "{bytes}: {pages}");
    }
}

async fn ranges_see_the_past(store: Shared) {
    write(&store, [put("a", "1"), put("b", "1")]).await;
    write(&store, [put("a", "2")]).await;
    write(&store, [delete("b")]).await;
    write(&store, [put("b", "5"), delete("a")]).await;
    write(&store, [put("c", "6")]).await;
    for (at, expected) in [
        (1, vec![]),
        (2, vec![("a", "1"), ("b", "1")]),
        (3, vec![("a", "2"), ("b", "1")]),
        (4, vec![("a", "2")]),
        (5, vec![("b", "5")]),
        (6, vec![("b", "5"), ("c", "6")]),
    ] {
        let page = store.range(Range { at: Some(at), ..prefix("") }).await.unwrap();
        assert_eq!((page.revision, page.count), (at, expected.len()));
        assert_eq!(list(&store, Range { at: Some(at), ..prefix("") }).await, pairs(&expected), "at {at}");
        let first = store.range(Range { at: Some(at), limit: 1, ..prefix("") }).await.unwrap();
        assert_eq!((first.count, first.more), (expected.len(), expected.len() > 1), "at {at}");
    }
}

async fn keys_are_bytes(store: Shared) {
    let keys: [&[u8]; 7] = [&[0], &[0, 0], &[0, 255], &[1], &[1, 0], &[255], &[255, 255]];
    for key in keys.iter().rev() {
        write(&store, [Op::Put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(key))]).await;
    }
    let page = store.range(Range::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|kv| kv.key.as_ref()).collect::<Vec<_>>(), keys);
    for (start, expected) in [(&[0u8][..], 3), (&[0, 255], 1), (&[255], 2), (&[255, 255], 1)] {
        let range = Range { start: Bytes::copy_from_slice(start), end: prefix_end(start), ..Range::default() };
        assert_eq!(store.range(range).await.unwrap().count, expected, "{start:?}");
    }
}

async fn watches_see_everything_once_and_in_order(store: Shared) {
    let mut watch = store.watch(bytes(""), None).await.unwrap();
    write(&store, [put("a", "1"), put("b", "1")]).await;
    write(&store, [put("a", "2"), delete("b"), delete("nobody")]).await;
    write(&store, [delete("a")]).await;
    write(&store, [put("a", "3")]).await;
    for expected in ["2:+a=1,+b=1", "3:+a=2(1),-b(1)", "4:-a(2)", "5:+a=3"] {
        assert_eq!(told(&next(&mut watch).await), expected);
    }
}

async fn watches_resume_from_any_revision(store: Shared) {
    for number in 2..=40 {
        assert_eq!(write(&store, [put(&format!("k{}", number % 3), &number.to_string())]).await, number);
    }
    for from in [1, 2, 3, 20, 39, 40] {
        let mut watch = store.watch(bytes("k"), Some(from)).await.unwrap();
        for number in from.max(2)..=40 {
            let before = if number < 5 { String::new() } else { format!("({})", number - 3) };
            assert_eq!(told(&next(&mut watch).await), format!("{number}:+k{}={number}{before}", number % 3));
        }
    }
    let mut watch = store.watch(bytes("k"), Some(42)).await.unwrap();
    write(&store, [put("k", "41")]).await;
    write(&store, [put("k", "42")]).await;
    assert_eq!(told(&next(&mut watch).await), "42:+k=42(41)");
}

async fn watches_see_their_prefix_only(store: Shared) {
    let mut pods = store.watch(bytes("pods/"), None).await.unwrap();
    for number in 0..200 {
        write(&store, [put(&format!("nodes/{number}"), "x")]).await;
    }
    let revision = write(&store, [put("nodes/0", "y"), put("pods/a", "1"), put("podsmore", "1")]).await;
    assert_eq!(told(&next(&mut pods).await), format!("{revision}:+pods/a=1"));
    let mut late = store.watch(bytes("pods/"), Some(2)).await.unwrap();
    assert_eq!(told(&next(&mut late).await), format!("{revision}:+pods/a=1"));
}

async fn a_slow_watch_misses_nothing(store: Shared) {
    let mut slow = store.watch(bytes("k"), None).await.unwrap();
    let value = "x".repeat(4096);
    for number in 2..700 {
        assert_eq!(write(&store, [put(&format!("k{}", number % 7), &value), put("other", "")]).await, number);
    }
    for number in 2..700 {
        let batch = next(&mut slow).await;
        assert_eq!((batch.revision, batch.events.len()), (number, 1));
        let Event::Put { now, previous } = &batch.events[0] else { panic!("{batch:?}") };
        assert_eq!((now.key.as_ref(), now.value.len()), (format!("k{}", number % 7).as_bytes(), 4096));
        assert_eq!(previous.as_ref().map(|kv| kv.mod_revision), (number >= 9).then(|| number - 7));
    }
}

async fn compaction_forgets_only_the_past(store: Shared) {
    write(&store, [put("a", "1"), put("b", "1"), put("c", "1")]).await;
    write(&store, [put("a", "2")]).await;
    write(&store, [delete("b")]).await;
    write(&store, [put("a", "3")]).await;
    store.compact(4).await.unwrap();
    for at in [1, 2, 3] {
        let refused = store.range(Range { at: Some(at), ..prefix("") }).await;
        assert!(matches!(refused, Err(Error::Compacted { asked, oldest: 4 }) if asked == at), "{refused:?}");
        let refused = store.watch(bytes(""), Some(at)).await.map(drop);
        assert!(matches!(refused, Err(Error::Compacted { asked, oldest: 4 }) if asked == at), "{refused:?}");
    }
    assert_eq!(list(&store, Range { at: Some(4), ..prefix("") }).await, pairs(&[("a", "2"), ("c", "1")]));
    assert_eq!(list(&store, prefix("")).await, pairs(&[("a", "3"), ("c", "1")]));
    let mut watch = store.watch(bytes(""), Some(5)).await.unwrap();
    assert_eq!(told(&next(&mut watch).await), "5:+a=3(2)");
    store.compact(3).await.expect("what is forgotten already needs no forgetting");
    store.compact(5).await.unwrap();
    assert_eq!(write(&store, [put("b", "6")]).await, 6);
    assert_eq!(store.get(b"b").await.unwrap().unwrap().version, 1);
    assert_eq!(list(&store, prefix("")).await, pairs(&[("a", "3"), ("b", "6"), ("c", "1")]));
}

async fn the_future_is_refused(store: Shared) {
    write(&store, [put("a", "1")]).await;
    let refused = store.range(Range { at: Some(3), ..prefix("") }).await;
    assert!(matches!(refused, Err(Error::FutureRevision { asked: 3, newest: 2 })), "{refused:?}");
    let refused = store.compact(3).await;
    assert!(matches!(refused, Err(Error::FutureRevision { asked: 3, newest: 2 })), "{refused:?}");
}

async fn one_of_many_rivals_wins(store: Shared) {
    write(&store, [put("counter", "0")]).await;
    let rivals = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < 20 {
                let counter = store.get(b"counter").await.unwrap().unwrap();
                let next: u32 = std::str::from_utf8(&counter.value).unwrap().parse::<u32>().unwrap() + 1;
                let guards = vec![Guard::Unchanged(bytes("counter"), counter.mod_revision)];
                let txn = Txn { guards, ops: vec![put("counter", &next.to_string())], ..Txn::default() };
                done += u32::from(matches!(store.txn(txn).await.unwrap(), Outcome::Done(_)));
            }
        })
    });
    for rival in rivals.collect::<Vec<_>>() {
        rival.await.unwrap();
    }
    let counter = store.get(b"counter").await.unwrap().unwrap();
    assert_eq!((counter.value.as_ref(), counter.version), (b"160".as_slice(), 161));
}

async fn relaxed_writes_are_seen_at_once(store: Shared) {
    let mut watch = store.watch(bytes("lease"), None).await.unwrap();
    let txn = Txn { ops: vec![put("lease", "1")], durability: Durability::Relaxed, ..Txn::default() };
    assert_eq!(store.txn(txn).await.unwrap(), Outcome::Done(2));
    assert_eq!(store.revision(), 2);
    assert_eq!(store.get(b"lease").await.unwrap().unwrap().mod_revision, 2);
    assert_eq!(told(&next(&mut watch).await), "2:+lease=1");
    assert_eq!(write(&store, [put("a", "1")]).await, 3);
    assert_eq!(store.durable_revision(), 3, "a durable write takes the earlier ones along");
}
