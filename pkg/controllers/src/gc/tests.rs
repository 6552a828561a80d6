//! Which objects a change concerns, and what is asked of the server.

use std::sync::Mutex;

use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use knarr_api::user::UserInfo;
use serde_json::Value;

use super::*;

fn kind(group: &str, plural: &str, kind: &str, namespaced: bool) -> Kind {
    let resource = APIResource { name: plural.into(), kind: kind.into(), namespaced, ..Default::default() };
    Kind::new(group, "v1", &resource)
}

/// `name` has the UID `uid-name`; owners are `Kind/name`.
fn object(namespace: &str, name: &str, owners: &[&str]) -> Metadata {
    let owner = |text: &&str| {
        let (kind, name) = text.split_once('/').unwrap();
        let api_version = if kind == "ReplicaSet" { "apps/v1" } else { "v1" }.to_owned();
        let uid = format!("uid-{name}");
        OwnerReference {
            api_version,
            kind: kind.into(),
            name: name.into(),
            uid,
            block_owner_deletion: Some(true),
            ..Default::default()
        }
    };
    Metadata {
        key: Key::new(namespace, name),
        uid: format!("uid-{name}").into(),
        revision: 7,
        owners: owners.iter().map(owner).collect(),
        ..Metadata::default()
    }
}

fn deleting(mut object: Metadata, finalizer: &str) -> Metadata {
    object.deleting = true;
    object.finalizers = [finalizer.into()].into();
    object
}

/// A server that knows nothing and accepts everything, and remembers what it was asked.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<String>>>);

impl Server {
    fn client(&self) -> Client {
        let asked = self.0.clone();
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let line = match parts.method.as_str() {
                    "PATCH" => format!("PATCH {} {}", parts.uri.path(), body["metadata"]),
                    "DELETE" => format!("DELETE {} {}", parts.uri.path(), body["propagationPolicy"].as_str().unwrap()),
                    _ => format!("GET {}", parts.uri.path()),
                };
                asked.lock().unwrap().push(line);
                let (code, reason) = (http::StatusCode::NOT_FOUND, "NotFound");
                (code, format!(r#"{{"kind":"Status","status":"Failure","code":404,"reason":"{reason}"}}"#))
            }
        });
        knarr_client::transport::in_process(router, UserInfo::default())
    }
}

fn inventory(client: Client, nodes: Vec<Metadata>, sets: Vec<Metadata>, pods: Vec<Metadata>) -> Arc<Inventory> {
    let kinds = [
        (kind("", "nodes", "Node", false), nodes),
        (kind("apps", "replicasets", "ReplicaSet", true), sets),
        (kind("", "pods", "Pod", true), pods),
    ];
    Arc::new(Inventory::fixed(client, kinds))
}

#[tokio::test]
async fn what_a_change_concerns() {
    let set = deleting(object("d", "web", &[]), FOREGROUND);
    let pods = vec![object("d", "a", &["ReplicaSet/web"]), object("d", "b", &["ReplicaSet/web"])];
    let inventory = inventory(Server::default().client(), vec![], vec![set.clone()], pods.clone());
    let sets = inventory.kind("replicasets.apps").unwrap().kind;
    let pod_kind = inventory.kind("pods").unwrap().kind;
    let concerned = |kind: &Arc<Kind>, old: Option<&Metadata>, new: Option<&Metadata>| {
        let key = new.or(old).unwrap().key.clone();
        let change = Change { key, old: old.cloned().map(Arc::new), new: new.cloned().map(Arc::new) };
        affected(&inventory, kind, &change).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let alive = object("d", "web", &[]);
    let (touched, successor) =
        (Metadata { revision: 9, ..pods[0].clone() }, Metadata { uid: "new".into(), ..alive.clone() });
    assert_eq!(concerned(&sets, None, Some(&alive)), [""; 0], "nobody owns it");
    assert_eq!(concerned(&sets, Some(&alive), Some(&set)), ["replicasets.apps/d/web"]);
    assert_eq!(concerned(&sets, Some(&set), None), ["pods/d/a", "pods/d/b"]);
    assert_eq!(
        concerned(&sets, Some(&alive), Some(&successor)),
        ["pods/d/a", "pods/d/b"],
        "another object of the same name"
    );
    assert_eq!(concerned(&pod_kind, None, Some(&pods[0])), ["pods/d/a"]);
    assert_eq!(concerned(&pod_kind, Some(&pods[0]), Some(&touched)), [""; 0]);
    assert_eq!(concerned(&pod_kind, Some(&pods[0]), None), ["replicasets.apps/d/web"], "its owner waits for it");
}

/// What is asked of the server when one object is looked at.
async fn asked(
    nodes: Vec<Metadata>,
    sets: Vec<Metadata>,
    pods: Vec<Metadata>,
    resource: &str,
    name: &str,
) -> Vec<String> {
    let server = Server::default();
    let client = server.client();
    let inventory = inventory(client.clone(), nodes, sets, pods);
    let recorder = knarr_client::events::channel().0.recorder(client.clone(), NAME, "");
    let queue = Arc::new(Queue::new());
    let work = Work { inventory, client, recorder, queue: queue.clone() };
    let namespace = if resource == "nodes" { "" } else { "d" };
    let outcome = work.reconcile(Place { resource: resource.into(), key: Key::new(namespace, name) }).await;
    let mut asked = server.0.lock().unwrap().clone();
    if let Err(error) = outcome {
        // The caches here never change: what was done cannot be seen.
        assert!(matches!(error, Error::Behind(_)), "{error}");
    }
    while let Ok(place) = tokio::time::timeout(std::time::Duration::ZERO, queue.next()).await {
        asked.push(format!("look at {place}"));
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn what_is_done_about_an_object() {
    let web = || object("d", "web", &[]);
    let pod = |owners: &[&str]| object("d", "a", owners);
    let none: Vec<String> = Vec::new();
    assert_eq!(asked(vec![], vec![web()], vec![pod(&["ReplicaSet/web"])], "pods", "a").await, none);
    assert_eq!(
        asked(vec![], vec![], vec![pod(&["ReplicaSet/web"])], "pods", "a").await,
        ["GET /apis/apps/v1/namespaces/d/replicasets/web", "DELETE /api/v1/namespaces/d/pods/a Background"],
        "the server is asked before anything is deleted"
    );
    assert_eq!(
        asked(vec![object("", "n", &["Pod/a"])], vec![], vec![pod(&[])], "nodes", "n").await,
        none,
        "an object of the cluster cannot have an owner in a namespace"
    );
    let waiting = || deleting(web(), FOREGROUND);
    assert_eq!(
        asked(vec![], vec![waiting()], vec![pod(&["ReplicaSet/web"])], "replicasets.apps", "web").await,
        ["look at pods/d/a"]
    );
    assert_eq!(
        asked(vec![], vec![waiting()], vec![pod(&["ReplicaSet/web"])], "pods", "a").await,
        ["DELETE /api/v1/namespaces/d/pods/a Background"]
    );
    assert_eq!(
        asked(vec![], vec![waiting()], vec![], "replicasets.apps", "web").await,
        [r#"PATCH /apis/apps/v1/namespaces/d/replicasets/web {"finalizers":[],"resourceVersion":"7","uid":"uid-web"}"#]
    );
    assert_eq!(
        asked(vec![], vec![deleting(web(), ORPHAN)], vec![pod(&["ReplicaSet/web"])], "replicasets.apps", "web").await,
        [
            r#"PATCH /api/v1/namespaces/d/pods/a {"ownerReferences":[],"resourceVersion":"7","uid":"uid-a"}"#,
            r#"PATCH /apis/apps/v1/namespaces/d/replicasets/web {"finalizers":[],"resourceVersion":"7","uid":"uid-web"}"#,
        ]
    );
}
