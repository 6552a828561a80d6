//! Lists and watches.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use knarr_tests::api::Api;
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;
use knarr_tests::wait::until;
use serde_json::{Value, json};

use crate::kinds::discovered;
use crate::malformed::{JSON, expect};

const SOON: Duration = Duration::from_secs(20);

fn version(object: &Value) -> Result<String> {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.map(str::to_owned).with_context(|| format!("no resourceVersion: {object}"))
}

pub(crate) fn every_kind(lab: &Lab) -> Result<()> {
    let api = Api::admin(lab)?;
    let kinds = discovered(&api)?.into_iter().filter(|kind| kind.can("list") && kind.can("watch"));
    let paths: Vec<String> = kinds.map(|kind| kind.everywhere()).collect();
    ensure!(paths.len() > 55, "built-in kinds: {paths:?}");
    std::thread::scope(|scope| {
        let parts = paths.chunks(paths.len().div_ceil(8));
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().try_for_each(|path| kind(&api, path)))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("panicked"))?)
    })
}

/// One kind as a list, a page, a watch and a table.
fn kind(api: &Api, path: &str) -> Result<()> {
    const WATCH: &str =
        "?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut connection = api.connect()?;
    for query in ["", "?limit=1", "?resourceVersion=0", WATCH] {
        let answer = connection.request("GET", &format!("{path}{query}"), &[], b"")?;
        ensure!(answer.status == 200, "GET {path}{query}: {answer}");
        if query.is_empty() {
            let list = answer.json()?;
            ensure!(list["kind"].as_str().is_some_and(|kind| kind.ends_with("List")), "{path}: {answer}");
            ensure!(list["items"].is_array(), "{path}: items is an array even when empty: {answer}");
            version(&list)?;
        }
    }
    let table = ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let answer = connection.request("GET", path, &[table], b"")?;
    let kind = answer.json()?["kind"].clone();
    ensure!(answer.status == 200 && kind == "Table", "{path} as a table: {answer}");
    Ok(())
}

pub(crate) fn watch_resumes(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "resume")?;
    let api = Api::admin(lab)?;
    let path = format!("/api/v1/namespaces/{}/secrets", space.name());
    let start = version(&api.get(&path)?)?;
    let mut watch = api.watch(&format!("{path}?watch=1&resourceVersion={start}&allowWatchBookmarks=true"))?;
    for number in 0..20 {
        let answer = api.post(&path, &json!({"metadata": {"name": format!("s{number}")}}))?;
        ensure!(answer.status == 201, "{answer}");
    }
    let mut versions = Vec::new();
    for number in 0..20 {
        let event = watch.next(SOON)?;
        ensure!(event["type"] == "ADDED" && event["object"]["metadata"]["name"] == format!("s{number}"), "{event}");
        versions.push(version(&event["object"])?);
    }
    let middle = versions.get(9).context("ten events")?;
    let mut again = api.watch(&format!("{path}?watch=1&resourceVersion={middle}"))?;
    for number in 10..20 {
        let event = again.next(SOON)?;
        ensure!(event["object"]["metadata"]["name"] == format!("s{number}"), "resumed after s9: {event}");
    }
    space.kubectl(&["label", "secret/s3", "a=b"])?;
    space.kubectl(&["delete", "secret/s3"])?;
    for kind in ["MODIFIED", "DELETED"] {
        let event = again.next(SOON)?;
        ensure!(event["type"] == kind && event["object"]["metadata"]["name"] == "s3", "{kind}: {event}");
    }

    // A selector turns a change into an appearance or a disappearance.
    let mut selecting = api.watch(&format!("{path}?watch=1&resourceVersion={middle}&labelSelector=shown%3Dyes"))?;
    for (label, kind) in [("shown=yes", "ADDED"), ("shown=no", "DELETED"), ("shown=yes", "ADDED")] {
        space.kubectl(&["label", "secret/s4", label, "--overwrite"])?;
        let event = selecting.next(SOON)?;
        ensure!(event["type"] == kind, "{label}: {event}");
    }

    let stream = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut initial = api.watch(&format!("{path}?watch=1&{stream}"))?;
    let bookmark = initial.find(SOON, |event| event["type"] == "BOOKMARK")?;
    ensure!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true", "{bookmark}");
    let mut ends = api.watch(&format!("{path}?watch=1&timeoutSeconds=1"))?;
    let end = ends.find(SOON, |_| false);
    ensure!(format!("{end:?}").contains("the server ended the watch"), "timeoutSeconds: {end:?}");
    Ok(())
}

pub(crate) fn not_there_yet(lab: &Lab) -> Result<()> {
    let api = Api::admin(lab)?;
    let path = "/api/v1/configmaps";
    let future = version(&api.get(path)?)?.parse::<u64>()? + 1_000_000;
    // It is waited for a moment, and then refused.
    let query = format!("{path}?resourceVersion={future}&resourceVersionMatch=NotOlderThan");
    let answer = api.request("GET", &query, &[], b"")?;
    expect("a revision of the future", &answer, 504, "Timeout", "Too large resource version")
}

pub(crate) fn compacted(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "compacted")?;
    let api = Api::admin(lab)?;
    let path = format!("/api/v1/namespaces/{}/configmaps", space.name());
    for name in ["a", "b"] {
        api.post(&path, &json!({"metadata": {"name": name}}))?;
    }
    let page = api.get(&format!("{path}?limit=1"))?;
    let (start, token) = (version(&page)?, page["metadata"]["continue"].as_str().context("continue")?.to_owned());
    // More than the server keeps of recent events in memory: the watch below begins in the store.
    for number in 0..6 {
        let big = json!({"metadata": {"name": "a"}, "data": {"n": number.to_string(), "fill": "x".repeat(600_000)}});
        let answer = api.request("PUT", &format!("{path}/a"), &[JSON], big.to_string().as_bytes())?;
        ensure!(answer.status == 200, "{answer}");
    }
    let changes = format!("{path}?watch=1&resourceVersion={start}&fieldSelector=metadata.name%3Da");
    let mut watch = api.watch(&changes)?;
    for number in 0..6 {
        let event = watch.next(SOON)?;
        let seen = (&event["type"], &event["object"]["data"]["n"]);
        ensure!(seen == (&json!("MODIFIED"), &json!(number.to_string())), "{number}: {seen:?}");
    }
    let exact = format!("{path}?resourceVersion={start}&resourceVersionMatch=Exact");
    let then = api.get(&exact)?;
    ensure!(then["items"][0]["data"].is_null(), "the list of then: {then}");

    let mut connection = api.connect()?;
    let answer = until("the history is compacted", Duration::from_secs(120), || {
        let answer = connection.request("GET", &exact, &[], b"").map_err(|error| format!("{error:#}"))?;
        if answer.status == 200 { Err("there") } else { Ok(answer) }.map_err(str::to_owned)
    })?;
    expect("a list of then", &answer, 410, "Expired", "The resourceVersion for the provided list is too old.")?;
    let answer = connection.request("GET", &format!("{path}?limit=1&continue={token}"), &[], b"")?;
    expect("the next page of then", &answer, 410, "Expired", "The provided continue parameter is too old")?;
    let now =
        answer.json()?["metadata"]["continue"].as_str().context("a token that goes on in the present")?.to_owned();
    let rest = api.get(&format!("{path}?continue={now}"))?;
    let names: Vec<_> =
        rest["items"].as_array().context("items")?.iter().map(|item| &item["metadata"]["name"]).collect();
    ensure!(names == ["b", "kube-root-ca.crt"], "{names:?}");
    // As upstream: a stream whose only event is the refusal.
    let event = api.get(&changes)?;
    let status = &event["object"];
    ensure!(event["type"] == "ERROR" && status["code"] == 410 && status["reason"] == "Expired", "{event}");
    let message = format!("too old resource version: {start} (");
    ensure!(status["message"].as_str().is_some_and(|text| text.starts_with(&message)), "{event}");
    Ok(())
}

pub(crate) fn pages(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "pages")?;
    let api = Api::admin(lab)?;
    let path = format!("/api/v1/namespaces/{}/secrets", space.name());
    for number in 0..25 {
        api.post(
            &path,
            &json!({"metadata": {"name": format!("s{number:02}"), "labels": {"odd": (number % 2).to_string()}}}),
        )?;
    }
    let (mut names, mut token, mut revision) = (Vec::new(), String::new(), None);
    for page in 0.. {
        let list = api.get(&format!("{path}?limit=10&continue={token}"))?;
        let items = list["items"].as_array().context("items")?;
        names.extend(items.iter().map(|item| item["metadata"]["name"].to_string()));
        let seen = version(&list)?;
        ensure!(
            revision.get_or_insert_with(|| seen.clone()) == &seen,
            "every page is of one revision: {}",
            list["metadata"]
        );
        if page == 0 {
            ensure!(list["metadata"]["remainingItemCount"] == 15, "{}", list["metadata"]);
            // What comes later is not in the following pages.
            api.post(&path, &json!({"metadata": {"name": "s15-later"}}))?;
        }
        match list["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    let expected: Vec<_> = (0..25).map(|number| format!("\"s{number:02}\"")).collect();
    ensure!(names == expected, "{names:?}");
    let list = api.get(&format!("{path}?limit=5&labelSelector=odd%3D1"))?;
    let odd = list["items"].as_array().context("items")?;
    ensure!(odd.len() == 5 && odd.iter().all(|item| item["metadata"]["labels"]["odd"] == "1"), "{list}");
    Ok(())
}

pub(crate) fn selectors(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "selectors")?;
    space.apply(
        r#"
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {x: "1"}}, spec: {nodeSelector: {never: here}, containers: [{name: c, image: "busybox:1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {x: "2"}}, spec: {nodeSelector: {never: here}, containers: [{name: c, image: "busybox:1"}]}}
"#,
    )?;
    for (flag, selector, expected) in [
        ("--selector", "x=1", "a"),
        ("--selector", "x!=1", "b"),
        ("--selector", "x in (1,2)", "a b"),
        ("--selector", "x>1", "b"),
        ("--field-selector", "metadata.name=b", "b"),
        ("--field-selector", "status.phase=Pending,metadata.name!=b", "a"),
        ("--field-selector", "spec.nodeName=", "a b"),
        ("--field-selector", "status.phase=Running", ""),
    ] {
        let told = space.kubectl(&["get", "pods", flag, selector, "-o", "jsonpath={.items[*].metadata.name}"])?;
        ensure!(told == expected, "{flag} {selector}: {told:?}");
    }
    Ok(())
}
