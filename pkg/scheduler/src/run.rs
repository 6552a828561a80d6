//! The loop that owns the picture of the cluster and decides.

use std::convert::Infallible;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use knarr_base::Shutdown;
use knarr_client::cache::{Cache, Caches, Change, Key};
use knarr_client::events::{Recorder, Type};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::cluster::Cluster;
use crate::pod::PodInfo;
use crate::queue::Queue;
use crate::{bind, select};

/// The name that pods choose this scheduler by; the default of `spec.schedulerName`.
const NAME: &str = "default-scheduler";
/// Bindings under way at once: they only wait for the store's group commit.
const BINDINGS: usize = 64;

/// What the scheduler works with.
pub struct Clients {
    /// Where pods and nodes are read.
    pub caches: Caches,
    /// Writes as `system:kube-scheduler`.
    pub client: kube::Client,
    /// Records as the component `default-scheduler`.
    pub recorder: Recorder,
}

/// Gives every pod a node. See the crate's page.
pub struct Scheduler {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    namespaces: Cache<Namespace>,
    client: kube::Client,
    recorder: Recorder,
    cluster: Cluster,
    queue: Queue,
    start: usize,
    bindings: JoinSet<Bound>,
}

/// How a binding ended.
struct Bound {
    pod: PodInfo,
    node: String,
    result: Result<(), kube::Error>,
}

impl Scheduler {
    /// A scheduler that has seen nothing yet.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self {
            pods: clients.caches.of(),
            nodes: clients.caches.of(),
            namespaces: clients.caches.of(),
            client: clients.client,
            recorder: clients.recorder,
            cluster: Cluster::default(),
            queue: Queue::default(),
            start: 0,
            bindings: JoinSet::new(),
        }
    }

    /// Schedules until the drain starts.
    ///
    /// # Errors
    /// None: what goes wrong with one pod is retried.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        shutdown.clone().or(self.schedule()).await;
        // Bindings under way have been decided; they are given to the API server before it drains.
        while let Some(bound) = self.bindings.join_next().await {
            if let Ok(bound) = bound {
                self.bound(bound);
            }
        }
        Ok(())
    }

    async fn schedule(&mut self) {
        let (mut pods, mut nodes) = (self.pods.subscribe(), self.nodes.subscribe());
        let mut namespaces = self.namespaces.subscribe();
        self.pods.synced().await;
        self.nodes.synced().await;
        self.namespaces.synced().await;
        loop {
            while let Some(change) = namespaces.ready() {
                self.namespace_changed(&change);
            }
            while let Some(change) = nodes.ready() {
                self.node_changed(&change);
            }
            while let Some(change) = pods.ready() {
                self.pod_changed(&change);
            }
            while let Some(Ok(bound)) = self.bindings.try_join_next() {
                self.bound(bound);
            }
            if self.bindings.len() < BINDINGS
                && let Some(pod) = self.queue.next(Instant::now())
            {
                self.decide(pod);
                continue;
            }
            let due = self.queue.due();
            tokio::select! {
                change = nodes.next() => self.node_changed(&change),
                change = pods.next() => self.pod_changed(&change),
                change = namespaces.next() => self.namespace_changed(&change),
                Some(Ok(bound)) = self.bindings.join_next() => self.bound(bound),
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
        }
    }

    fn node_changed(&mut self, change: &Change<Node>) {
        match &change.new {
            Some(node) => {
                let helps = change.old.as_ref().is_none_or(|old| differs(old, node));
                self.cluster.set_node(node.clone());
                if helps {
                    self.queue.retry_all();
                }
            }
            None => self.cluster.remove_node(change.latest().metadata.name.as_deref().unwrap_or_default()),
        }
    }

    fn namespace_changed(&mut self, change: &Change<Namespace>) {
        let name = change.latest().metadata.name.as_deref().unwrap_or_default();
        self.cluster.set_namespace(name, change.new.clone());
        let labels = |namespace: &Option<_>| {
            namespace.as_ref().and_then(|n: &std::sync::Arc<Namespace>| n.metadata.labels.clone())
        };
        if labels(&change.old) != labels(&change.new) {
            self.queue.retry_related();
        }
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        let key = Key::of(&**change.latest());
        let Some(pod) = &change.new else {
            self.queue.remove(&key);
            return self.leave(&key);
        };
        let info = PodInfo::new(pod.clone());
        let node = info.spec().node_name.clone().unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            self.queue.remove(&key);
            self.leave(&key);
        } else if !node.is_empty() {
            self.queue.remove(&key);
            self.cluster.place(info, &node);
            if change.old.as_ref().is_none_or(|old| is_other_neighbour(old, pod)) {
                self.queue.retry_related();
            }
        } else if !self.cluster.is_placed(&key, info.uid()) {
            // Another incarnation may still hold its place.
            self.leave(&key);
            if is_ours(pod) { self.queue.set(info) } else { self.queue.remove(&key) }
        }
    }

    /// The pod uses no node any more, which may help others.
    fn leave(&mut self, key: &Key) {
        if self.cluster.displace(key) {
            self.queue.retry_all();
        }
    }

    fn decide(&mut self, pod: PodInfo) {
        match select::select(&pod, &self.cluster, &mut self.start) {
            Ok(node) => {
                let node = node.to_owned();
                self.queue.remove(&pod.key);
                self.cluster.place(pod.clone(), &node);
                let client = self.client.clone();
                self.bindings.spawn(async move {
                    let result = bind::bind(client, &pod, &node).await;
                    Bound { pod, node, result }
                });
            }
            Err(unschedulable) => {
                self.queue.refuse(&pod.key, Instant::now());
                let message = unschedulable.to_string();
                self.recorder.event(&*pod.pod, Type::Warning, "FailedScheduling", message.clone());
                let client = self.client.clone();
                tokio::spawn(async move {
                    if let Err(error) = bind::refuse(client, &pod, &message).await {
                        tracing::debug!(%error, pod = %pod.key, "cannot write why the pod has no node");
                    }
                });
            }
        }
    }

    fn bound(&mut self, Bound { pod, node, result }: Bound) {
        let Err(error) = result else {
            let message = format!("Successfully assigned {}/{} to {node}", pod.key.namespace(), pod.key.name());
            return self.recorder.event(&*pod.pod, Type::Normal, "Scheduled", message);
        };
        // The pod has gone, or another incarnation has its name: the cache tells the rest.
        let current = self.pods.at(&pod.key).filter(|now| now.metadata.uid == pod.pod.metadata.uid);
        let Some(current) = current.filter(|now| now.spec.as_ref().is_none_or(|spec| spec.node_name.is_none())) else {
            return;
        };
        tracing::warn!(%error, pod = %pod.key, node, "binding rejected");
        self.recorder.event(&*pod.pod, Type::Warning, "FailedScheduling", format!("binding rejected: {error}"));
        self.cluster.displace(&pod.key);
        let info = PodInfo::new(current);
        let key = info.key.clone();
        self.queue.set(info);
        self.queue.refuse(&key, Instant::now());
        self.queue.retry(&key);
    }
}

/// Whether the pod waits for this scheduler: gated pods wait for somebody else, and those that end need no node.
fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let gated = spec.is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()));
    let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(NAME);
    scheduler == NAME && !gated && pod.metadata.deletion_timestamp.is_none()
}

/// Whether a pod on a node means something else to those that wait than before.
fn is_other_neighbour(old: &Pod, new: &Pod) -> bool {
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let ends = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    node(old) != node(new) || old.metadata.labels != new.metadata.labels || ends(old) != ends(new)
}

/// Whether a node's change can make room for a pod: heartbeats and images cannot.
fn differs(old: &Node, new: &Node) -> bool {
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || allocatable(old) != allocatable(new)
}
