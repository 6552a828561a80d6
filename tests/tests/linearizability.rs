//! Concurrent clients over the API, and the server killed among them: what they saw has one order, and that is the order of
//! the resourceVersions.
#![allow(clippy::indexing_slicing, reason = "a test: a panic is its failure")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use knarr_tests::api::{Answer, Api, Connection};
use knarr_tests::linearizability::{Action, Operation, Outcome, Value, is_linearizable};
use knarr_tests::suite::OwnLab;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// All keys have this label, so that lists and watches see nothing else.
const LABEL: &str = "labelSelector=linear%3Dyes";
const KEYS: usize = 4;
const CLIENTS: u64 = 6;
const LOAD: Duration = Duration::from_millis(600);
const JSON: (&str, &str) = ("Content-Type", "application/json");

type Revision = u64;
/// What a key holds, and since when.
type Held = BTreeMap<usize, (Value, Revision)>;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    operations: Vec<(usize, Operation<Instant>)>,
    /// The revision of each value that somebody was told of.
    revisions: Vec<(Value, Revision)>,
    /// When each list was asked for and answered, its revision, and what it held.
    lists: Vec<(Instant, Instant, Revision, Held)>,
}

/// One client: it does one thing after the other.
struct Client<'a> {
    api: &'a Api,
    connection: Option<Connection>,
    random: StdRng,
    values: &'a AtomicU64,
    /// The last that it has seen of each key.
    known: Held,
    seen: Seen,
}

fn name(key: usize) -> String {
    format!("linear-{key}")
}

/// Key, value and revision of an object.
fn read(object: &Json) -> Result<(usize, Value, Revision)> {
    let text = |path: &str| object.pointer(path).and_then(Json::as_str).with_context(|| format!("{path}: {object}"));
    let key = text("/metadata/name")?.strip_prefix("linear-").context("a name")?.parse()?;
    Ok((key, text("/data/value")?.parse()?, text("/metadata/resourceVersion")?.parse()?))
}

impl Client<'_> {
    fn work(mut self, stop: &AtomicBool) -> Result<Seen> {
        while !stop.load(Ordering::Relaxed) {
            let key = self.random.random_range(0..KEYS);
            let value = self.values.fetch_add(1, Ordering::Relaxed);
            let known = self.known.get(&key).copied();
            match (self.random.random_range(0..20), known) {
                (0..2, _) => self.list()?,
                (2..7, _) => self.one(key, Action::Read, None)?,
                (7..10, _) | (13..17, None) => self.one(key, Action::Create(value), None)?,
                (10..13, _) => self.one(key, Action::Replace(value), None)?,
                (13..17, Some((from, revision))) => self.one(key, Action::Swap(from, value), Some(revision))?,
                _ => self.one(key, Action::Delete, None)?,
            }
        }
        Ok(self.seen)
    }

    /// Sends a request; `None` when the answer does not come, or is that nobody knows.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Option<Answer> {
        if self.connection.is_none() {
            self.connection = self.api.connect().ok();
            // The server may just be away.
            if self.connection.is_none() {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        let answer = self.connection.as_mut()?.request(method, path, &[JSON], body.as_bytes());
        if answer.is_err() {
            self.connection = None;
        }
        answer.ok().filter(|answer| answer.status < 500)
    }

    fn one(&mut self, key: usize, action: Action, revision: Option<Revision>) -> Result<()> {
        let path = format!("{MAPS}/{}", name(key));
        let object = |value: Value| {
            let metadata = json!({"name": name(key), "labels": {"linear": "yes"}});
            let mut object = json!({"metadata": metadata, "data": {"value": value.to_string()}});
            if let Some(revision) = revision {
                object["metadata"]["resourceVersion"] = revision.to_string().into();
            }
            object.to_string()
        };
        let (method, path, body) = match action {
            Action::Read => ("GET", path.as_str(), String::new()),
            Action::Create(value) => ("POST", MAPS, object(value)),
            Action::Replace(value) | Action::Swap(_, value) => ("PUT", path.as_str(), object(value)),
            Action::Delete => ("DELETE", path.as_str(), String::new()),
        };
        let begin = Instant::now();
        let answer = self.ask(method, path, &body);
        let end = Instant::now();
        let outcome = match &answer {
            None => Outcome::Unknown,
            Some(answer) => self.outcome(action, answer)?,
        };
        // Nobody learns anything from a read without an answer.
        if (action, outcome) != (Action::Read, Outcome::Unknown) {
            self.seen.operations.push((key, Operation { action, outcome, begin, end }));
        }
        Ok(())
    }

    fn outcome(&mut self, action: Action, answer: &Answer) -> Result<Outcome> {
        let outcome = match (answer.status, action) {
            (200, Action::Delete) => return Ok(Outcome::Done),
            (404, _) => Outcome::Missing,
            (409, Action::Create(_) | Action::Swap(..)) => Outcome::Conflict,
            (200 | 201, _) => {
                let (key, value, revision) = read(&answer.json()?)?;
                self.known.insert(key, (value, revision));
                self.seen.revisions.push((value, revision));
                match action {
                    Action::Read => Outcome::Found(value),
                    Action::Create(wanted) | Action::Replace(wanted) | Action::Swap(_, wanted) => {
                        ensure!(value == wanted, "{action:?} made {answer}");
                        Outcome::Done
                    }
                    Action::Delete => Outcome::Done,
                }
            }
            _ => anyhow::bail!("{action:?}: {answer}"),
        };
        Ok(outcome)
    }

    /// A list is a read of each key, all at one revision.
    fn list(&mut self) -> Result<()> {
        let begin = Instant::now();
        let Some(answer) = self.ask("GET", &format!("{MAPS}?{LABEL}"), "") else { return Ok(()) };
        let end = Instant::now();
        ensure!(answer.status == 200, "{answer}");
        let list = answer.json()?;
        let revision = list["metadata"]["resourceVersion"].as_str().context("a revision")?.parse()?;
        let mut held = Held::new();
        for item in list["items"].as_array().context("items")? {
            let (key, value, revision) = read(item)?;
            held.insert(key, (value, revision));
            self.seen.revisions.push((value, revision));
        }
        for key in 0..KEYS {
            let outcome = held.get(&key).map_or(Outcome::Missing, |(value, _)| Outcome::Found(*value));
            self.seen.operations.push((key, Operation { action: Action::Read, outcome, begin, end }));
        }
        self.known.clone_from(&held);
        self.seen.lists.push((begin, end, revision, held));
        Ok(())
    }
}

/// One change, as a watch tells it: revision, key, and the value unless it is a delete.
type Change = (Revision, usize, Option<Value>);

/// Watches until `last` says up to which revision, over the server's death: what it was told.
fn watch(api: &Api, from: Revision, last: &AtomicU64) -> Result<Vec<Change>> {
    let (mut changes, mut at) = (Vec::<Change>::new(), from);
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        ensure!(Instant::now() < deadline, "told up to {at} only, not to {}", last.load(Ordering::Relaxed));
        let Ok(mut watch) = api.watch(&format!("{MAPS}?watch=1&resourceVersion={at}&{LABEL}")) else {
            std::thread::park_timeout(Duration::from_millis(10));
            continue;
        };
        while at < last.load(Ordering::Relaxed) {
            let Ok(event) = watch.next(Duration::from_millis(500)) else { break };
            let (key, value, revision) = read(&event["object"]).with_context(|| event.to_string())?;
            ensure!(revision > at, "{revision} is told after {at}");
            at = revision;
            changes.push((revision, key, (event["type"] != "DELETED").then_some(value)));
        }
        if at >= last.load(Ordering::Relaxed) {
            return Ok(changes);
        }
    }
}

/// The keys as they were at a revision, by what a watch told.
fn held_at(changes: &[Change], revision: Revision) -> Held {
    let mut held = Held::new();
    for (at, key, value) in changes.iter().take_while(|(at, ..)| *at <= revision) {
        match value {
            Some(value) => drop(held.insert(*key, (*value, *at))),
            None => drop(held.remove(key)),
        }
    }
    held
}

/// The order of the revisions explains the lists, and is what everybody was told.
fn check_revisions(seen: &Seen, changes: &[Change]) -> Result<()> {
    let written: BTreeMap<Value, Revision> =
        changes.iter().filter_map(|(at, _, value)| value.map(|value| (value, *at))).collect();
    for (value, revision) in &seen.revisions {
        ensure!(
            written.get(value) == Some(revision),
            "{value} is of {revision}, but of {:?} to a watch",
            written.get(value)
        );
    }
    for (begin, end, revision, held) in &seen.lists {
        let expected = held_at(changes, *revision);
        ensure!(*held == expected, "the list of {revision}: {held:?} instead of {expected:?}");
        for (_, operation) in &seen.operations {
            let (Action::Create(value) | Action::Replace(value) | Action::Swap(_, value)) = operation.action else {
                continue;
            };
            let Some(written) = written.get(&value) else { continue };
            let known = operation.outcome == Outcome::Done && operation.end < *begin;
            ensure!(!known || written <= revision, "the list of {revision} is older than {written}, done before it");
            ensure!(operation.begin < *end || written > revision, "the list of {revision} is newer than {written}");
        }
    }
    Ok(())
}

fn check(seen: &Seen, changes: &[Change]) -> Result<()> {
    for key in 0..KEYS {
        let of_key = seen.operations.iter().filter(|(own, _)| *own == key);
        let operations: Vec<_> = of_key.map(|(_, operation)| *operation).collect();
        ensure!(operations.len() > 50, "only {} operations on key {key}", operations.len());
        ensure!(is_linearizable(&operations), "no order explains key {key}: {operations:#?}");
        // With a read of what was there long ago, there must be none.
        let (action, now) = (Action::Read, Instant::now());
        let made = operations.iter().find(|operation| operation.outcome == Outcome::Done);
        let Some(Action::Create(value)) = made.map(|operation| operation.action) else { continue };
        let stale = Operation { action, outcome: Outcome::Found(value), begin: now, end: now };
        ensure!(!is_linearizable(&[&operations[..], &[stale]].concat()), "a stale read of key {key} is not noticed");
    }
    check_revisions(seen, changes)
}

/// Lets clients work until `meanwhile` is over; all that they saw.
fn load(api: &Api, seed: u64, meanwhile: impl FnOnce() -> Result<()>) -> Result<Seen> {
    let (stop, values) = (AtomicBool::new(false), AtomicU64::new(1));
    let client = |number: u64| Client {
        api,
        connection: None,
        random: StdRng::seed_from_u64(seed + number),
        values: &values,
        known: Held::new(),
        seen: Seen::default(),
    };
    let (client, stop) = (&client, &stop);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number).work(stop))).collect();
        let over = meanwhile();
        stop.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        for client in clients {
            let own = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            seen.operations.extend(own.operations);
            seen.revisions.extend(own.revisions);
            seen.lists.extend(own.lists);
        }
        over.map(|()| seen)
    })
}

#[test]
fn what_concurrent_clients_see_has_one_order() -> Result<()> {
    let own = OwnLab::new(&[])?;
    let lab = own.lab();
    lab.up()?;
    let api = Api::admin(lab)?;
    let seed = u64::from(rand::rng().random::<u32>());
    let list = api.get(&format!("{MAPS}?{LABEL}"))?;
    let from = list["metadata"]["resourceVersion"].as_str().context("a revision")?.parse()?;
    let last = AtomicU64::new(Revision::MAX);
    let (seen, changes) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&api, from, &last));
        let seen = load(&api, seed, || {
            std::thread::park_timeout(LOAD);
            lab.kill_server()?;
            lab.up()?;
            std::thread::park_timeout(LOAD);
            Ok(())
        });
        // The last change of all ends the watch.
        let metadata = json!({"name": name(KEYS), "labels": {"linear": "yes"}});
        let end =
            api.post(MAPS, &json!({"metadata": metadata, "data": {"value": "0"}})).and_then(|it| read(&it.json()?));
        last.store(end.as_ref().map_or(0, |(_, _, revision)| *revision), Ordering::Relaxed);
        let changes = watching.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
        end.and(Ok::<_, anyhow::Error>((seen?, changes)))
    })?;
    ensure!(watch(&api, from, &last)? == changes, "a late watch is told something else");
    let unknown = seen.operations.iter().filter(|(_, operation)| operation.outcome == Outcome::Unknown).count();
    let (operations, lists, changed) = (seen.operations.len(), seen.lists.len(), changes.len());
    eprintln!("seed {seed}: {operations} operations, {unknown} in doubt, {lists} lists, {changed} changes");
    check(&seen, &changes).with_context(|| format!("seed {seed}"))
}
