use std::sync::Arc;

use knarr_base::Shutdown;

use super::*;
use crate::cache::{ChangeType, Notice, Selection, Start};
use crate::registry::{Hooks, Registry};
use crate::testing::Fixture;

fn pair(change: &str, name: &str) -> (String, String) {
    (change.into(), name.into())
}

#[tokio::test]
async fn a_watch_after_a_list_misses_nothing_and_repeats_nothing() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let list = revision(&api.get(MAPS).await.ok());
    api.post(MAPS, config_map("b")).await.ok();
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={list}")).await;
    assert_eq!(watch.change().await, pair("ADDED", "b"));
    let patched = api.patch(&format!("{MAPS}/a"), "merge", json!({"data": {"a": "2"}})).await.ok();
    let event = watch.next().await.unwrap();
    assert_eq!(event, json!({"type": "MODIFIED", "object": patched}));
    api.delete(&format!("{MAPS}/b")).await.ok();
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["data"]), (&json!("DELETED"), &json!({"a": "1"})));
    assert!(revision(&gone["object"]) > revision(&event["object"]), "a delete has a revision of its own");
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_with_what_exists() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    api.post("/api/v1/namespaces/other/configmaps", config_map("x")).await.ok();
    for query in ["", "&resourceVersion=0"] {
        let mut watch = api.watch(&format!("{MAPS}?watch=1{query}")).await;
        assert_eq!(watch.change().await, pair("ADDED", "a"), "{query}");
    }
    let mut old = api.watch("/api/v1/watch/namespaces/default/configmaps").await;
    assert_eq!(old.change().await, pair("ADDED", "a"));
}

#[tokio::test]
async fn entering_a_selection_adds_and_leaving_it_deletes() {
    let api = Fixture::new().await;
    api.post(MAPS, json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"v": "old"}})).await.ok();
    let list = revision(&api.get(MAPS).await.ok());
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={list}&labelSelector=x%3D2")).await;
    let path = format!("{MAPS}/a");
    let change = async |x: &str, v: &str| {
        let patch = json!({"metadata": {"labels": {"x": x}}, "data": {"v": v}});
        revision(&api.patch(&path, "merge", patch).await.ok())
    };
    change("2", "in").await;
    assert_eq!(watch.change().await, pair("ADDED", "a"));
    change("2", "still").await;
    assert_eq!(watch.change().await, pair("MODIFIED", "a"));
    let left = change("3", "out").await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["data"]["v"], "still", "the last state that was selected");
    assert_eq!(revision(&event["object"]), left, "at the revision of the change");
    change("3", "unseen").await;
    change("2", "again").await;
    assert_eq!(watch.change().await, pair("ADDED", "a"));
}

#[tokio::test]
async fn field_selectors_follow_a_pod_to_its_node() {
    let api = Fixture::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut watch = api.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    api.post(pods, json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}))
        .await
        .ok();
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n1"}});
    api.post(&format!("{pods}/p/binding"), binding).await.ok();
    assert_eq!(watch.change().await, pair("ADDED", "p"));
}

#[tokio::test]
async fn a_streamed_list_says_where_it_ends() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.change().await, pair("ADDED", "a"));
    let end = watch.next().await.unwrap();
    assert_eq!((&end["type"], &end["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(revision(&end["object"]), revision(&api.get(MAPS).await.ok()));
    api.post(MAPS, config_map("b")).await.ok();
    assert_eq!(watch.change().await, pair("ADDED", "b"));
    for query in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan"] {
        assert_eq!(api.get(&format!("{MAPS}?watch=1&{query}")).await.code, 422, "{query}");
    }
}

#[tokio::test]
async fn a_watch_ends_in_time_with_a_bookmark_for_those_who_want_one() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let now = revision(&api.get(MAPS).await.ok());
    let path = format!("{MAPS}?watch=1&resourceVersion={now}&timeoutSeconds=1");
    let mut plain = api.watch(&path).await;
    let mut marked = api.watch(&format!("{path}&allowWatchBookmarks=true")).await;
    // Something of another kind moves the revision on.
    api.post("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await.ok();
    assert_eq!(plain.next().await, None);
    let bookmark = marked.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert!(revision(&bookmark["object"]) > now);
    assert_eq!(marked.next().await, None);
}

#[tokio::test]
async fn a_compacted_revision_is_answered_with_an_error_event() {
    use knarr_store::Store;
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    for value in 0..1100 {
        api.patch(&format!("{MAPS}/a"), "merge", json!({"data": {"a": value.to_string()}})).await.ok();
    }
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion=2")).await;
    let first = watch.next().await.unwrap();
    assert_eq!(
        (&first["type"], &first["object"]["data"]["a"]),
        (&json!("MODIFIED"), &json!("0")),
        "read from the store"
    );
    for value in 1..1100 {
        assert_eq!(watch.next().await.unwrap()["object"]["data"]["a"], value.to_string(), "and on into the ring");
    }
    api.store.compact(api.registry.revision()).await.unwrap();
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion=2")).await;
    let error = watch.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!((&error["object"]["code"], &error["object"]["reason"]), (&json!(410), &json!("Expired")));
    let message = error["object"]["message"].as_str().unwrap();
    assert!(message.starts_with("too old resource version: 2 ("), "{message}");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn after_a_restart_watches_go_on_where_they_were() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let seen = revision(&api.get(MAPS).await.ok());
    api.post(MAPS, config_map("b")).await.ok();
    api.delete(&format!("{MAPS}/a")).await.ok();
    let api = api.restart().await;
    assert_eq!(names(&api.get(MAPS).await.ok()), ["b"]);
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={seen}")).await;
    assert_eq!(watch.change().await, pair("ADDED", "b"));
    assert_eq!(watch.change().await, pair("DELETED", "a"));
    api.post(MAPS, config_map("c")).await.ok();
    assert_eq!(watch.change().await, pair("ADDED", "c"));
}

#[tokio::test]
async fn after_a_restart_a_watch_that_begins_with_what_exists_hears_nothing_older() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    for value in ["1", "2"] {
        api.patch(&format!("{MAPS}/a"), "merge", json!({"data": {"a": value}})).await.ok();
    }
    // The recent events are read again while these watches run: that is history to them.
    let api = api.restart().await;
    let stream = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watches = Vec::new();
    for query in ["", "&resourceVersion=0", stream] {
        let mut watch = api.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true&{query}")).await;
        assert_eq!(watch.next().await.unwrap()["object"]["data"]["a"], "2", "{query}");
        watches.push((query, watch));
    }
    api.patch(&format!("{MAPS}/a"), "merge", json!({"data": {"a": "3"}})).await.ok();
    for (query, mut watch) in watches {
        let mut event = watch.next().await.unwrap();
        if query == stream {
            assert_eq!(event["type"], "BOOKMARK");
            event = watch.next().await.unwrap();
        }
        assert_eq!((&event["type"], &event["object"]["data"]["a"]), (&json!("MODIFIED"), &json!("3")), "{query}");
    }
}

#[tokio::test]
async fn no_bookmark_is_ahead_of_what_a_restart_has_still_to_tell() {
    let api = Fixture::new().await;
    for name in ["z", "y"] {
        api.post(MAPS, config_map(name)).await.ok();
    }
    let seen = api.registry.revision();
    api.post(MAPS, config_map("a")).await.ok();
    // Another server over the same store; its feed has not run yet.
    let (registry, feed) = Registry::open(api.store.clone(), Vec::new(), Hooks::default()).await.unwrap();
    let cache = registry.cache("", "configmaps").unwrap();
    let selection = Arc::new(Selection::all(cache.kind(), ""));
    let mut watcher = cache.watch(selection, Start::After(seen)).await.unwrap();
    assert_eq!(watcher.bookmark(), None, "the event may be lost to a client that resumes from there");
    let feed = tokio::spawn(feed.run(Shutdown::new()));
    assert!(matches!(watcher.next().await, Some(Ok(Notice::Change(ChangeType::Added, _)))));
    api.post(MAPS, config_map("b")).await.ok();
    watcher.next().await.unwrap().unwrap();
    assert_eq!(watcher.bookmark(), Some(registry.revision()));
    feed.abort();
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_closed_and_holds_up_nobody() {
    let api = Fixture::new().await;
    let mut slow = api.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let cache = api.registry.cache("", "configmaps").unwrap();
    let mut watcher = cache.watch(Arc::new(Selection::all(cache.kind(), "")), Start::After(1)).await.unwrap();
    for index in 0..1200 {
        api.post(MAPS, config_map(&format!("m{index:04}"))).await.ok();
    }
    let mut seen = 0;
    while slow.next().await.is_some() {
        seen += 1;
    }
    assert!((1024..1200).contains(&seen), "{seen}");
    while watcher.next().await.is_some() {}
    assert_eq!(watcher.bookmark(), None, "who resumes from there misses what did not fit");
}

#[tokio::test]
async fn all_watchers_of_a_change_share_its_bytes() {
    use crate::cache::{Notice, Selection, Start};
    use std::sync::Arc;
    let api = Fixture::new().await;
    let cache = api.registry.cache("", "configmaps").unwrap();
    let everything = Arc::new(Selection::all(cache.kind(), ""));
    let mut watchers = Vec::new();
    for _ in 0..3 {
        watchers.push(cache.watch(everything.clone(), Start::After(1)).await.unwrap());
    }
    api.post(MAPS, config_map("a")).await.ok();
    let mut events = Vec::new();
    for watcher in &mut watchers {
        let Some(Ok(Notice::Change(change, event))) = watcher.next().await else { panic!("no change") };
        events.push(event.frame((change, 0), || Ok(format!("made by {}", events.len()).into())).unwrap());
    }
    assert!(events.iter().all(|frame| frame == "made by 0"), "{events:?}");
    drop(watchers);
    assert_eq!(cache.watchers(), 0);
}

#[tokio::test]
async fn a_table_watch_names_its_columns_once() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let mut request =
        crate::testing::request(http::Method::GET, &format!("{MAPS}?watch=1"), "", axum::body::Body::empty());
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    request.headers_mut().insert("accept", table.parse().unwrap());
    let mut watch = api.lines(request).await;
    let first = watch.next().await.unwrap();
    assert_eq!((&first["type"], &first["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    assert!(!first["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    api.post(MAPS, config_map("b")).await.ok();
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
}
