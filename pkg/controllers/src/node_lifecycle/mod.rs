//! Notices nodes that fall silent, says so in their conditions, and taints nodes by their conditions
//! (<https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller>).
//!
//! Silence is measured here, by the monotonic clock: from the last change of the node's Lease or of its Ready condition that
//! this process has seen. Neither a wrong clock nor a restart of the control plane makes a healthy node look silent.

mod eviction;
mod health;
mod taints;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_base::Shutdown;
use knarr_client::cache::Selection;
use knarr_client::events::{Type, reference};
use knarr_client::{Action, Cache, Change, Controller, Index, Key, Recorder};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::deps::Deps;
use crate::endpointslice::by_node;
use crate::error::{Error, gone_is_fine};
use crate::pods;

pub(crate) use eviction::run as evict;

const NAME: &str = "node-controller";

/// Upstream's defaults of `--node-monitor-grace-period` and `--node-startup-grace-period`.
const GRACE: Duration = Duration::from_secs(50);
const STARTUP_GRACE: Duration = Duration::from_secs(60);

const LEASES: &str = "kube-node-lease";

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let nodes = deps.cache::<Node>();
    let leases = deps.caches.select::<Lease>(&Selection::namespace(LEASES));
    let heard = Arc::new(Heard::default());
    let mut controller = Controller::new(NAME);
    controller.watch(&leases, {
        let heard = heard.clone();
        move |change| {
            // The Lease of a node that is gone goes too: that is no sign of life.
            if change.new.is_some() {
                heard.note(change.key.name());
            }
            Vec::new()
        }
    });
    controller.watch(&nodes, {
        let (heard, nodes) = (heard.clone(), nodes.clone());
        move |change| woken(&heard, &nodes, change)
    });
    let work = Work {
        on_node: by_node(&deps.cache::<Pod>()),
        client: deps.client(NAME),
        recorder: deps.recorder(NAME),
        registered: Mutex::default(),
        nodes,
        heard,
    };
    controller.run(1, shutdown, |key| work.reconcile(key)).await
}

/// When each node was heard of last.
#[derive(Default)]
struct Heard(Mutex<HashMap<String, Instant>>);

impl Heard {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, node: &str) {
        self.lock().insert(node.to_owned(), Instant::now());
    }

    /// How long the node has been silent; a node that is new here starts now.
    fn silence(&self, node: &str) -> Duration {
        self.lock().entry(node.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    fn forget(&self, node: &str) {
        self.lock().remove(node);
    }
}

/// The nodes to look at after a change: the node itself, and all when the last ready one has gone or the first has come.
fn woken(heard: &Heard, nodes: &Cache<Node>, change: &Change<Node>) -> Vec<Key> {
    let name = change.key.name();
    let heartbeat =
        |node: &Arc<Node>| taints::condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.clone());
    match (&change.old, &change.new) {
        (_, None) => heard.forget(name),
        (Some(old), Some(new)) if heartbeat(old) == heartbeat(new) => {}
        _ => heard.note(name),
    }
    let ready = |node: &Option<Arc<Node>>| node.as_ref().is_some_and(|node| is_ready(node));
    if ready(&change.old) == ready(&change.new) {
        return vec![change.key.clone()];
    }
    nodes.list().iter().map(|node| Key::of(node.as_ref())).chain([change.key.clone()]).collect()
}

fn is_ready(node: &Node) -> bool {
    taints::condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

struct Work {
    nodes: Cache<Node>,
    on_node: Index<Pod>,
    heard: Arc<Heard>,
    client: Client,
    recorder: Recorder,
    /// UIDs of the nodes that were announced, by name.
    registered: Mutex<HashMap<String, Option<String>>>,
}

impl Work {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(node) = self.nodes.at(&key) else {
            self.registered.lock().unwrap_or_else(PoisonError::into_inner).remove(key.name());
            return Ok(Action::Done);
        };
        self.announce(&node);
        let ready = taints::condition(&node, "Ready");
        let grace = if ready.is_some() { GRACE } else { STARTUP_GRACE };
        let left = grace.saturating_sub(self.heard.silence(key.name()));
        let mut node = node;
        if left.is_zero()
            && let Some(status) = health::silent(&node, Timestamp::now())
        {
            node = self.say_unknown(&node, Node { status: Some(status), ..node.as_ref().clone() }).await?;
        }
        if taints::condition(&node, "Ready").is_some_and(|ready| ready.status == "Unknown") {
            self.mark_pods(key.name()).await?;
        }
        self.taint(&node).await?;
        Ok(if left.is_zero() { Action::Done } else { Action::After(left) })
    }

    fn announce(&self, node: &Node) {
        let name = node.name_any();
        let before = self.registered.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), node.uid());
        if before != Some(node.uid()) {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.recorder.event(node, Type::Normal, "RegisteredNode", message);
        }
    }

    async fn say_unknown(&self, before: &Node, after: Node) -> Result<Arc<Node>, Error> {
        let name = before.name_any();
        let api = Api::<Node>::all(self.client.clone());
        let written = api.replace_status(&name, &PostParams::default(), &after).await?;
        if is_ready(before) {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.recorder.event(before, Type::Normal, "NodeNotReady", message);
        }
        self.nodes.seen(written.metadata.resource_version.as_deref().unwrap_or_default()).await?;
        Ok(Arc::new(written))
    }

    /// Pods of a silent node get no traffic.
    async fn mark_pods(&self, node: &str) -> Result<(), Error> {
        for pod in self.on_node.get(node).into_iter().filter(|pod| pods::is_ready(pod)) {
            let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
            let condition = json!({
                "type": "Ready", "status": "False",
                "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()),
            });
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
            gone_is_fine(api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await)?;
            self.recorder.event_on(reference(pod.as_ref()), Type::Warning, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }

    async fn taint(&self, node: &Node) -> Result<(), Error> {
        let some_ready = self.nodes.list().iter().any(|node| is_ready(node));
        let Some(taints) = taints::wanted(node, some_ready, Timestamp::now()) else { return Ok(()) };
        let version = node.metadata.resource_version.as_deref().unwrap_or_default();
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}));
        let api = Api::<Node>::all(self.client.clone());
        if let Some(patched) = gone_is_fine(api.patch(&node.name_any(), &PatchParams::default(), &patch).await)? {
            self.nodes.seen(patched.metadata.resource_version.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }
}
