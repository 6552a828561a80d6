//! Caches against a server that plays a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use knarr_api::user::UserInfo;
use knarr_base::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;
use crate::transport::in_process;

type Lines = mpsc::UnboundedSender<String>;

/// The lines of a body, or the code of a refusal.
type Script = Result<mpsc::UnboundedReceiver<String>, u16>;

/// Every watch of the client is one script: what is sent through the returned channel becomes the body.
#[derive(Clone, Default)]
struct Server {
    queries: Arc<Mutex<Vec<String>>>,
    scripts: Arc<Mutex<VecDeque<Script>>>,
}

impl Server {
    fn script(&self) -> Lines {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.scripts.lock().unwrap().push_back(Ok(receiver));
        sender
    }

    fn refuse(&self, code: u16) {
        self.scripts.lock().unwrap().push_back(Err(code));
    }

    fn caches(&self) -> (Caches, Shutdown) {
        async fn serve(State(server): State<Server>, RawQuery(query): RawQuery) -> Response {
            server.queries.lock().unwrap().push(query.unwrap_or_default());
            let script = server.scripts.lock().unwrap().pop_front();
            match script {
                Some(Ok(lines)) => {
                    let lines =
                        UnboundedReceiverStream::new(lines).map(|line| Ok::<_, std::io::Error>(Bytes::from(line)));
                    Body::from_stream(lines).into_response()
                }
                Some(Err(code)) => {
                    let status = format!(r#"{{"kind":"Status","status":"Failure","code":{code},"reason":"Expired"}}"#);
                    (http::StatusCode::from_u16(code).unwrap(), status).into_response()
                }
                None => Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>()).into_response(),
            }
        }
        let router = Router::new().route("/api/v1/pods", get(serve)).with_state(self.clone());
        let (caches, watches) = Caches::new(in_process(router, UserInfo::default()));
        let shutdown = Shutdown::new();
        tokio::spawn(watches.run(shutdown.clone()));
        (caches, shutdown)
    }

    fn queries(&self) -> Vec<String> {
        let rest = |query: &String| query.split_once("&timeoutSeconds=480").unwrap().1.to_owned();
        self.queries.lock().unwrap().iter().map(rest).collect()
    }
}

fn event(kind: &str, name: &str, revision: u64) -> String {
    let node = if revision.is_multiple_of(2) { "even" } else { "odd" };
    format!(
        "{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"namespace\":\"d\",\
         \"name\":\"{name}\",\"resourceVersion\":\"{revision}\"}},\"spec\":{{\"containers\":[],\"nodeName\":\"{node}\"}}}}}}\n"
    )
}

fn bookmark(revision: u64, ends_list: bool) -> String {
    let annotations = if ends_list { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
    format!(
        "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\
         \"resourceVersion\":\"{revision}\"{annotations}}}}}}}\n"
    )
}

fn names(cache: &Cache<Pod>) -> Vec<String> {
    cache.list().iter().map(|pod| Key::of(pod.as_ref()).to_string()).collect()
}

fn told(change: &Change<Pod>) -> (String, u64, u64) {
    let revision = |side: &Option<Arc<Pod>>| side.as_ref().map_or(0, |pod| pod.revision());
    (change.key.to_string(), revision(&change.old), revision(&change.new))
}

#[tokio::test(start_paused = true)]
async fn lists_then_follows_then_resumes_where_it_was() {
    let server = Server::default();
    let (first, second) = (server.script(), server.script());
    let (caches, _shutdown) = server.caches();
    let cache = caches.of::<Pod>();
    assert!(!cache.is_synced());
    first.send(event("ADDED", "a", 3)).unwrap();
    first.send(event("ADDED", "b", 5)).unwrap();
    first.send(bookmark(7, true)).unwrap();
    cache.synced().await;
    assert_eq!(names(&cache), ["d/a", "d/b"]);
    let mut changes = cache.subscribe();
    assert_eq!(told(&changes.next().await), ("d/a".into(), 0, 3));
    assert_eq!(told(&changes.next().await), ("d/b".into(), 0, 5));

    first.send(event("DELETED", "a", 9)).unwrap();
    cache.seen("9").await.unwrap();
    assert_eq!(told(&changes.next().await), ("d/a".into(), 3, 0));
    first.send(bookmark(20, false)).unwrap();
    cache.seen("15").await.unwrap();

    drop(first);
    second.send(event("MODIFIED", "b", 21)).unwrap();
    assert_eq!(told(&changes.next().await), ("d/b".into(), 5, 21));
    assert_eq!(server.queries(), ["&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "&resourceVersion=20"]);
}

#[tokio::test(start_paused = true)]
async fn starts_over_when_the_revision_is_compacted() {
    let server = Server::default();
    let first = server.script();
    server.refuse(410);
    let second = server.script();
    let (caches, _shutdown) = server.caches();
    let cache = caches.of::<Pod>();
    for line in [event("ADDED", "gone", 3), event("ADDED", "same", 4), event("ADDED", "new", 5), bookmark(5, true)] {
        first.send(line).unwrap();
    }
    cache.synced().await;
    let mut changes = cache.subscribe();
    while changes.ready().is_some() {}
    drop(first);
    for line in [event("ADDED", "same", 4), event("ADDED", "new", 50), bookmark(90, true)] {
        second.send(line).unwrap();
    }
    cache.seen("90").await.unwrap();
    assert_eq!(names(&cache), ["d/new", "d/same"]);
    let mut seen: Vec<_> = std::iter::from_fn(|| changes.ready()).map(|change| told(&change)).collect();
    seen.sort();
    assert_eq!(seen, [("d/gone".into(), 3, 0), ("d/new".into(), 5, 50)], "what has not changed is not mentioned");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_is_not_shown() {
    let server = Server::default();
    let (first, second) = (server.script(), server.script());
    let (caches, _shutdown) = server.caches();
    let cache = caches.of::<Pod>();
    first.send(event("ADDED", "half", 3)).unwrap();
    drop(first);
    second.send(event("ADDED", "whole", 4)).unwrap();
    second.send(bookmark(4, true)).unwrap();
    cache.synced().await;
    assert_eq!(names(&cache), ["d/whole"]);
}

#[tokio::test(start_paused = true)]
async fn indexes_follow_changes_and_users_share_one_watch() {
    let server = Server::default();
    let script = server.script();
    let (caches, _shutdown) = server.caches();
    let cache = caches.of::<Pod>();
    let by_node = |pod: &Pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect();
    let before = cache.index("node", by_node);
    for line in [event("ADDED", "a", 2), event("ADDED", "b", 4), bookmark(4, true), event("MODIFIED", "a", 5)] {
        script.send(line).unwrap();
    }
    let other = caches.of::<Pod>();
    other.seen("5").await.unwrap();
    for index in [before, other.index("node", by_node), other.index("late", by_node)] {
        let names = |value| index.get(value).iter().map(|pod| Key::of(pod.as_ref()).to_string()).collect::<Vec<_>>();
        assert_eq!((names("even"), names("odd"), names("none")), (vec!["d/b".into()], vec!["d/a".into()], vec![]));
    }
    assert_eq!(server.queries().len(), 1);
    assert_eq!(cache.in_namespace("d").len(), 2);
    assert_eq!(cache.in_namespace("other").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn barriers_wait_for_the_effect_and_give_up_in_the_end() {
    let server = Server::default();
    let script = server.script();
    let (caches, _shutdown) = server.caches();
    let cache = caches.of::<Pod>();
    script.send(event("ADDED", "a", 2)).unwrap();
    script.send(bookmark(2, true)).unwrap();
    cache.synced().await;
    let gone = tokio::spawn({
        let cache = cache.clone();
        async move { cache.until(&Key::new("d", "a"), |pod| pod.is_none()).await }
    });
    assert_eq!(cache.seen("3").await, Err(Behind));
    script.send(event("DELETED", "a", 3)).unwrap();
    cache.seen("3").await.unwrap();
    assert_eq!(gone.await.unwrap(), Err(Behind), "it had waited as long");
    cache.until(&Key::new("d", "a"), |pod| pod.is_none()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_watch_of_a_forgotten_kind_ends() {
    let server = Server::default();
    let script = server.script();
    let (caches, _shutdown) = server.caches();
    let kind = ApiResource::erase::<Pod>(&());
    let cache = caches.metadata(&kind);
    script.send(event("ADDED", "a", 2)).unwrap();
    script.send(bookmark(2, true)).unwrap();
    cache.synced().await;
    assert_eq!(cache.get("d", "a").unwrap().revision, 2);
    caches.forget_metadata(&kind);
    drop(cache);
    tokio::time::timeout(Duration::from_secs(5), script.closed()).await.unwrap();
}
