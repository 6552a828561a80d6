//! What every reader promises who reads below or through a cache: the part of the contract that the API server's watch cache
//! shares with the stores under it. It cannot be a store itself: it holds objects of one kind, and takes no writes.

use bytes::Bytes;
use knarr_store::{Durability, Op, Outcome, Revision, Shared, Txn};

/// Why something is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has been compacted.
    Compacted,
    /// It has not happened.
    Future,
}

/// A page of a list.
#[derive(Debug)]
pub struct Listed<N> {
    /// Name, value and revision of each object, as [`shown`].
    pub items: Vec<String>,
    /// Of which this is the truth.
    pub revision: Revision,
    /// How many more there are.
    pub remaining: usize,
    /// Where it goes on.
    pub next: Option<N>,
}

/// Somebody who reads named texts.
pub trait Reader {
    /// Where a list goes on.
    type Next: std::fmt::Debug;
    /// A running watch.
    type Watch;

    /// Where it is written.
    fn store(&self) -> &Shared;
    /// The key of a name.
    fn key(&self, name: &str) -> Bytes;
    /// How a text is stored.
    fn value(&self, text: &str) -> Bytes;
    /// One object now, as [`shown`].
    async fn get(&self, name: &str) -> Option<String>;
    /// The first objects, now or as of a revision.
    async fn list(&self, at: Option<Revision>, limit: usize) -> Result<Listed<Self::Next>, Refused>;
    /// The next ones.
    async fn go_on(&self, next: Self::Next, limit: usize) -> Result<Listed<Self::Next>, Refused>;
    /// All changes after a revision.
    async fn watch(&self, after: Revision) -> Result<Self::Watch, Refused>;
    /// The next change, as [`change`].
    async fn next(&self, watch: &mut Self::Watch) -> Result<String, Refused>;
}

/// `name=value@revision`.
pub fn shown(name: &str, value: &str, revision: Revision) -> String {
    format!("{name}={value}@{revision}")
}

/// `revision:name old->new`, with `-` for nothing.
pub fn change(revision: Revision, name: &str, before: Option<&str>, now: Option<&str>) -> String {
    format!("{revision}:{name} {}->{}", before.unwrap_or("-"), now.unwrap_or("-"))
}

/// Runs the suite.
pub async fn run<R: Reader>(fresh: impl AsyncFn() -> R) {
    what_was_acknowledged_is_read(fresh().await).await;
    lists_see_the_past(fresh().await).await;
    pages_fit_together(fresh().await).await;
    watches_resume_from_any_revision(fresh().await).await;
    what_is_compacted_is_refused_or_whole(fresh().await).await;
    the_future_is_refused(fresh().await).await;
}

/// `None` deletes.
async fn write<R: Reader>(reader: &R, changes: &[(&str, Option<&str>)]) -> Revision {
    let ops = changes.iter().map(|(name, text)| match text {
        Some(text) => Op::Put(reader.key(name), reader.value(text)),
        None => Op::Delete(reader.key(name)),
    });
    let txn = Txn { ops: ops.collect(), durability: Durability::Durable, ..Txn::default() };
    match reader.store().txn(txn).await.unwrap() {
        Outcome::Done(revision) => revision,
        refused => panic!("no guards, and yet {refused:?}"),
    }
}

async fn what_was_acknowledged_is_read<R: Reader>(reader: R) {
    for round in 0..50 {
        let text = round.to_string();
        let revision = write(&reader, &[("a", Some(&text))]).await;
        assert_eq!(reader.get("a").await, Some(shown("a", &text, revision)));
        let listed = reader.list(None, 0).await.unwrap();
        assert_eq!((listed.items, listed.revision), (vec![shown("a", &text, revision)], revision));
    }
    let revision = write(&reader, &[("a", None)]).await;
    assert_eq!(reader.get("a").await, None);
    assert_eq!(reader.list(None, 0).await.unwrap().revision, revision);
}

/// Two keys and what became of them: in each revision, what is there.
async fn some_history<R: Reader>(reader: &R) -> Vec<(Revision, Vec<String>)> {
    let start = write(reader, &[("a", Some("1")), ("b", Some("1"))]).await;
    for changes in [&[("a", Some("2"))][..], &[("b", None)], &[("b", Some("5")), ("a", None)], &[("c", Some("6"))]] {
        write(reader, changes).await;
    }
    let at = |offset: u64, items: &[(&str, &str, u64)]| {
        (start + offset, items.iter().map(|(name, text, offset)| shown(name, text, start + offset)).collect())
    };
    vec![
        at(0, &[("a", "1", 0), ("b", "1", 0)]),
        at(1, &[("a", "2", 1), ("b", "1", 0)]),
        at(2, &[("a", "2", 1)]),
        at(3, &[("b", "5", 3)]),
        at(4, &[("b", "5", 3), ("c", "6", 4)]),
    ]
}

async fn lists_see_the_past<R: Reader>(reader: R) {
    for (at, expected) in some_history(&reader).await {
        let listed = reader.list(Some(at), 0).await.unwrap();
        assert_eq!((listed.items, listed.revision, listed.remaining), (expected.clone(), at, 0));
        let first = reader.list(Some(at), 1).await.unwrap();
        assert_eq!((&first.items[..], first.revision), (&expected[..1], at));
        assert_eq!((first.remaining, first.next.is_some()), (expected.len() - 1, expected.len() > 1), "at {at}");
    }
}

async fn pages_fit_together<R: Reader>(reader: R) {
    let names: Vec<_> = (0..7).map(|number| format!("n{number}")).collect();
    let mut expected = Vec::new();
    for name in &names {
        expected.push(shown(name, "old", write(&reader, &[(name, Some("old"))]).await));
    }
    let mut page = reader.list(None, 3).await.unwrap();
    let (revision, mut all) = (page.revision, Vec::new());
    loop {
        all.append(&mut page.items);
        assert_eq!((page.revision, page.remaining), (revision, 7 - all.len()));
        // What happens meanwhile is in none of them.
        write(&reader, &[("n4", None), ("n5", Some("new")), ("n9", Some("new"))]).await;
        let Some(next) = page.next else { break };
        page = reader.go_on(next, 3).await.unwrap();
    }
    assert_eq!(all, expected);
}

async fn watches_resume_from_any_revision<R: Reader>(reader: R) {
    let (mut told, mut before) = (Vec::new(), [None::<String>, None, None]);
    let start = write(&reader, &[("start", Some(""))]).await;
    for number in 0..60 {
        let (place, name) = (number % 3, format!("k{}", number % 3));
        let now = (number % 7 != 6).then(|| number.to_string());
        if now.is_some() || before[place].is_some() {
            let revision = write(&reader, &[(&name, now.as_deref())]).await;
            told.push((revision, change(revision, &name, before[place].as_deref(), now.as_deref())));
        }
        before[place] = now;
    }
    let last = told.last().unwrap().0;
    for after in [start, start + 1, start + 20, last - 1] {
        let mut watch = reader.watch(after).await.unwrap();
        for (_, expected) in told.iter().filter(|(revision, _)| *revision > after) {
            assert_eq!(&reader.next(&mut watch).await.unwrap(), expected, "after {after}");
        }
    }
    let mut watch = reader.watch(last).await.unwrap();
    let revision = write(&reader, &[("k0", Some("new")), ("x", Some("x"))]).await;
    assert_eq!(reader.next(&mut watch).await.unwrap(), change(revision, "k0", before[0].as_deref(), Some("new")));
    assert_eq!(reader.next(&mut watch).await.unwrap(), change(revision, "x", None, Some("x")));
}

/// A cache may know for longer than the store. It must know everything then.
async fn what_is_compacted_is_refused_or_whole<R: Reader>(reader: R) {
    let history = some_history(&reader).await;
    let floor = history[2].0;
    reader.store().compact(floor).await.unwrap();
    for (at, expected) in &history {
        match reader.list(Some(*at), 0).await {
            Err(Refused::Compacted) => assert!(*at < floor, "{at} is not compacted"),
            listed => assert_eq!(listed.unwrap().items, *expected, "at {at}"),
        }
        match reader.watch(*at).await {
            // etcd has forgotten the deletes of the very revision up to which it was compacted.
            Err(Refused::Compacted) => assert!(*at < floor, "what follows {at} is not compacted"),
            watch => {
                let (mut watch, mut last) = (watch.unwrap(), String::new());
                for _ in 0..history.iter().filter(|(revision, _)| revision > at).count() + usize::from(*at < floor + 1)
                {
                    last = reader.next(&mut watch).await.unwrap();
                }
                let end = change(history[4].0, "c", None, Some("6"));
                assert!(last.is_empty() || last == end, "after {at} the last change is {last}, not {end}");
            }
        }
    }
    assert_eq!(reader.list(Some(history[0].0), 0).await.unwrap_err(), Refused::Compacted, "nobody keeps old lists");
}

async fn the_future_is_refused<R: Reader>(reader: R) {
    let newest = write(&reader, &[("a", Some("1"))]).await;
    assert_eq!(reader.list(Some(newest + 1), 0).await.unwrap_err(), Refused::Future);
}
