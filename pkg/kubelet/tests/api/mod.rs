//! As much of an API server as a kubelet needs: objects in memory, watches, patches that merge.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// A kind's plural, a namespace (empty in cluster scope), a name.
type Key = (String, String, String);

#[derive(Clone)]
struct Happened {
    revision: u64,
    what: &'static str,
    key: Key,
    object: Value,
}

struct Store {
    revision: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<Happened>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Api {
    store: Arc<Mutex<Store>>,
    happened: broadcast::Sender<Happened>,
}

impl Api {
    pub(crate) fn new() -> Self {
        let store = Store { revision: 1, objects: BTreeMap::new(), history: Vec::new() };
        Self { store: Arc::new(Mutex::new(store)), happened: broadcast::channel(10_000).0 }
    }

    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    fn put(&self, key: Key, mut object: Value) -> Value {
        let mut store = self.store.lock().unwrap();
        store.revision += 1;
        let (revision, new) = (store.revision, !store.objects.contains_key(&key));
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".into(), revision.to_string().into());
        metadata.entry("uid").or_insert_with(|| format!("uid-{revision}").into());
        metadata.insert("name".into(), key.2.clone().into());
        if !key.1.is_empty() {
            metadata.insert("namespace".into(), key.1.clone().into());
        }
        store.objects.insert(key.clone(), object.clone());
        self.tell(
            &mut store,
            Happened { revision, what: if new { "ADDED" } else { "MODIFIED" }, key, object: object.clone() },
        );
        object
    }

    fn tell(&self, store: &mut Store, happened: Happened) {
        store.history.push(happened.clone());
        let _nobody_listens = self.happened.send(happened);
    }

    /// Makes or replaces an object.
    pub(crate) fn apply(&self, plural: &str, namespace: &str, name: &str, object: Value) -> Value {
        self.put((plural.into(), namespace.into(), name.into()), object)
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.store.lock().unwrap().objects.get(&(plural.into(), namespace.into(), name.into())).cloned()
    }

    /// The reasons of all events about an object, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let store = self.store.lock().unwrap();
        let mut events: Vec<&Value> = store
            .objects
            .iter()
            .filter(|((plural, ..), object)| plural == "events" && object["involvedObject"]["name"] == name)
            .map(|(_, object)| object)
            .collect();
        events.sort_by_key(|event| event["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
        events
            .iter()
            .map(|event| format!("{}: {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap()))
            .collect()
    }

    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let mut store = self.store.lock().unwrap();
        let key = (plural.into(), namespace.into(), name.into());
        if let Some(object) = store.objects.remove(&key) {
            store.revision += 1;
            let revision = store.revision;
            self.tell(&mut store, Happened { revision, what: "DELETED", key, object });
        }
    }

    /// Waits for something to be true of an object, for at most half a minute.
    pub(crate) async fn wait(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&Value>) -> bool,
    ) {
        let mut changes = self.happened.subscribe();
        let waiting = async {
            while !holds(self.get(plural, namespace, name).as_ref()) {
                changes.recv().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), waiting).await.is_err() {
            let seen = serde_json::to_string_pretty(&self.get(plural, namespace, name)).unwrap();
            panic!("{plural} {name} never became {what}; it is {seen}\n{:#?}", self.events(name));
        }
    }

    pub(crate) async fn wait_for_phase(&self, name: &str, phase: &str) {
        self.wait("pods", "default", name, phase, |pod| pod.is_some_and(|pod| pod["status"]["phase"] == phase)).await;
    }

    pub(crate) async fn wait_for_condition(&self, plural: &str, name: &str, kind: &str) {
        let namespace = if plural == "nodes" { "" } else { "default" };
        self.wait(plural, namespace, name, kind, |object| {
            object.and_then(|object| object["status"]["conditions"].as_array()).is_some_and(|conditions| {
                conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
            })
        })
        .await;
    }
}

/// `/api/v1/namespaces/N/PLURAL/NAME/SUB` and its shorter forms.
fn parse(path: &str) -> (Key, String) {
    let mut parts = path.trim_matches('/').split('/');
    if parts.next() == Some("apis") {
        parts.next();
    }
    parts.next();
    let rest: Vec<&str> = parts.collect();
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
    ((part(0), namespace.to_owned(), part(1)), part(2))
}

async fn serve(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let (key, sub) = parse(uri.path());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (method.as_str(), key.2.is_empty()) {
        ("GET", true) if query.contains_key("watch") => watch(&api, key, &query),
        ("GET", true) => list(&api, &key, &query),
        ("POST", _) if sub == "token" => {
            let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
            Json(json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                "spec": body["spec"], "status": {"token": "a.b.c", "expirationTimestamp": expires.to_string()}}))
            .into_response()
        }
        ("POST", _) => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let key = (key.0, key.1, name);
            if api.store.lock().unwrap().objects.contains_key(&key) {
                return failure(StatusCode::CONFLICT, "AlreadyExists");
            }
            Json(api.put(key, body)).into_response()
        }
        _ => match api.get(&key.0, &key.1, &key.2) {
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
            Some(object) => match method.as_str() {
                "GET" => Json(object).into_response(),
                "PATCH" => {
                    let mut patched = object;
                    merge(&mut patched, &body);
                    Json(api.put(key, patched)).into_response()
                }
                "DELETE" => {
                    api.remove(&key.0, &key.1, &key.2);
                    Json(object).into_response()
                }
                other => panic!("{other} {uri}"),
            },
        },
    }
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16()});
    (code, Json(status)).into_response()
}

/// A merge patch; the directives of a strategic one are dropped, its lists replace.
fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (field, value) in fields {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(field);
                } else {
                    merge(&mut into[field.as_str()], value);
                }
            }
        }
        // A strategic merge names only the conditions that differ.
        Value::Array(items)
            if items.iter().all(|item| item.get("type").is_some_and(|_| item.get("status").is_some())) =>
        {
            let mut merged = into.as_array().cloned().unwrap_or_default();
            for item in items {
                match merged.iter_mut().find(|known| known["type"] == item["type"]) {
                    Some(known) => merge(known, item),
                    None => merged.push(item.clone()),
                }
            }
            *into = merged.into();
        }
        Value::Array(items) => {
            *into = items.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
        }
        plain => *into = plain.clone(),
    }
}

fn selected(wanted: &Key, query: &HashMap<String, String>, key: &Key, object: &Value) -> bool {
    let fields = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    let field = |path: &str| match path {
        "metadata.name" => object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        "spec.nodeName" => object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        other => panic!("field selector {other}"),
    };
    let fits = fields.split(',').filter_map(|one| one.split_once('=')).all(|(path, value)| field(path) == value);
    key.0 == wanted.0 && (wanted.1.is_empty() || wanted.1 == key.1) && fits
}

fn list(api: &Api, wanted: &Key, query: &HashMap<String, String>) -> Response {
    let store = api.store.lock().unwrap();
    let items: Vec<&Value> = store
        .objects
        .iter()
        .filter(|(key, object)| selected(wanted, query, key, object))
        .map(|(_, object)| object)
        .collect();
    let metadata = json!({"resourceVersion": store.revision.to_string()});
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})).into_response()
}

fn watch(api: &Api, wanted: Key, query: &HashMap<String, String>) -> Response {
    let line = |what: &str, object: &Value| {
        let mut bytes = serde_json::to_vec(&json!({"type": what, "object": object})).unwrap();
        bytes.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(bytes))
    };
    let store = api.store.lock().unwrap();
    let live = api.happened.subscribe();
    let mut first = Vec::new();
    if query.get("sendInitialEvents").is_some_and(|value| value == "true") {
        for (key, object) in &store.objects {
            if selected(&wanted, query, key, object) {
                first.push(line("ADDED", object));
            }
        }
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": store.revision.to_string(), "annotations": annotations});
        first.push(line("BOOKMARK", &json!({"kind": "X", "apiVersion": "v1", "metadata": metadata})));
    } else {
        let since: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(store.revision);
        for happened in store.history.iter().filter(|happened| happened.revision > since) {
            if selected(&wanted, query, &happened.key, &happened.object) {
                first.push(line(happened.what, &happened.object));
            }
        }
    }
    drop(store);
    let query = query.clone();
    let live = stream::unfold(live, move |mut live| {
        let (wanted, query) = (wanted.clone(), query.clone());
        async move {
            loop {
                let happened = live.recv().await.ok()?;
                if selected(&wanted, &query, &happened.key, &happened.object) {
                    return Some((line(happened.what, &happened.object), live));
                }
            }
        }
    });
    Response::new(Body::from_stream(stream::iter(first).chain(live)))
}
