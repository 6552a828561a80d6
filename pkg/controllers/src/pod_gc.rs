//! Removes pods that nobody else will: of nodes that are gone, terminating without a node, terminating on a node that is
//! declared out of service, and ended ones beyond a number
//! (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection>).

use std::convert::Infallible;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_base::Shutdown;
use knarr_client::{Action, Cache, Change, Controller, Index, Key};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use crate::deps::Deps;
use crate::disruption;
use crate::endpointslice::by_node;
use crate::error::{Error, gone_is_fine, is_not_found};
use crate::pods;

const NAME: &str = "pod-garbage-collector";

/// `--terminated-pod-gc-threshold`.
const ENDED: usize = 12_500;
/// How long a node must be missing before its pods are given up.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let (pods, nodes) = (deps.cache::<Pod>(), deps.cache::<Node>());
    let on_node = by_node(&pods);
    let mut controller = Controller::new(NAME);
    controller.watch(&pods, |change| change.new.iter().map(|_| change.key.clone()).collect());
    controller.watch(&nodes, move |change: &Change<Node>| {
        let gone = change.new.as_ref().is_none_or(|node| is_out_of_service(node));
        let pods = if gone { on_node.get(change.key.name()) } else { Vec::new() };
        pods.iter().map(|pod| Key::of(pod.as_ref())).collect()
    });
    let ended = pods.index("ended", |pod| if pods::is_terminal(pod) { vec!["ended".into()] } else { Vec::new() });
    let work = Work { ended, client: deps.client(NAME), missing: Default::default(), pods, nodes };
    controller.run(2, shutdown, |key| work.reconcile(key)).await
}

struct Work {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    ended: Index<Pod>,
    client: Client,
    /// Since when a pod's node is missing.
    missing: std::sync::Mutex<std::collections::HashMap<Key, tokio::time::Instant>>,
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It is terminating and no kubelet will end it.
    Unscheduled,
    /// It is terminating on a node that is declared out of service.
    OutOfService,
    /// Its node does not exist.
    Orphaned,
}

/// What is to be done about a pod, given its node.
fn plan(pod: &Pod, node: Option<&Node>) -> Option<Reason> {
    let terminating = pod.metadata.deletion_timestamp.is_some();
    match (pods::node(pod), node) {
        ("", _) => terminating.then_some(Reason::Unscheduled),
        (_, None) => Some(Reason::Orphaned),
        (_, Some(node)) => (terminating && is_out_of_service(node)).then_some(Reason::OutOfService),
    }
}

fn is_out_of_service(node: &Node) -> bool {
    let tainted =
        node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == OUT_OF_SERVICE);
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    tainted && !conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

impl Work {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(pod) = self.pods.at(&key) else {
            self.missing().remove(&key);
            return Ok(Action::Done);
        };
        self.shed_ended(&pod).await?;
        let node = self.nodes.get("", pods::node(&pod));
        let reason = plan(&pod, node.as_deref());
        if reason != Some(Reason::Orphaned) {
            self.missing().remove(&key);
        }
        match reason {
            None => Ok(Action::Done),
            Some(Reason::Orphaned) => self.orphaned(&key, &pod).await,
            Some(Reason::Unscheduled | Reason::OutOfService) => self.remove(&pod, false).await.map(|()| Action::Done),
        }
    }

    fn missing(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<Key, tokio::time::Instant>> {
        self.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn orphaned(&self, key: &Key, pod: &Pod) -> Result<Action, Error> {
        let since = *self.missing().entry(key.clone()).or_insert_with(tokio::time::Instant::now);
        let left = QUARANTINE.saturating_sub(since.elapsed());
        if !left.is_zero() {
            return Ok(Action::After(left));
        }
        match Api::<Node>::all(self.client.clone()).get_metadata(pods::node(pod)).await {
            Ok(_) => {
                // The cache is late; should the node go again, its pods get the whole time.
                self.missing().remove(key);
                Ok(Action::Done)
            }
            Err(error) if is_not_found(&error) => self.remove(pod, true).await.map(|()| Action::Done),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the oldest ended pods beyond the threshold; evicted ones first.
    async fn shed_ended(&self, pod: &Pod) -> Result<(), Error> {
        if !pods::is_terminal(pod) || self.ended.count("ended") <= ENDED {
            return Ok(());
        }
        let mut ended = self.ended.get("ended");
        ended.sort_by_cached_key(|pod| order(pod));
        let surplus = ended.len().saturating_sub(ENDED);
        for pod in ended.iter().take(surplus) {
            self.remove(pod, false).await?;
        }
        Ok(())
    }

    /// Marks the pod as failed, so that its controller does not count on it, and deletes it without grace.
    async fn remove(&self, pod: &Pod, disrupted: bool) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let reason = disrupted.then_some(("DeletionByPodGC", "PodGC: node no longer exists"));
        if !pods::is_terminal(pod) {
            disruption::mark(&api, pod, Some("Failed"), reason).await?;
        }
        let exactly = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(exactly);
        gone_is_fine(api.delete(&pod.name_any(), &params).await)?;
        let uid = pod.uid();
        let ends = |now: Option<&Pod>| {
            now.is_none_or(|now| now.metadata.uid != uid || now.metadata.deletion_timestamp.is_some())
        };
        Ok(self.pods.until(&Key::of(pod), ends).await?)
    }
}

/// Evicted pods first, then by age.
fn order(pod: &Pod) -> (bool, Option<jiff::Timestamp>, String) {
    let evicted = pod.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some("Evicted"));
    (!evicted, pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::api::core::v1::{NodeSpec, Taint};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn which_pods_nobody_else_removes() {
        let healthy = Node::default();
        let taint = Taint { key: OUT_OF_SERVICE.into(), effect: "NoExecute".into(), ..Default::default() };
        let dead = Node { spec: Some(NodeSpec { taints: Some(vec![taint]), ..Default::default() }), ..Node::default() };
        let running = || pod("a", "n", "Running", None);
        let terminating = |mut pod: Pod| {
            pod.metadata.deletion_timestamp = Some(Time(at(0)));
            pod
        };
        let cases = [
            (running(), Some(&healthy), None),
            (running(), Some(&dead), None),
            (running(), None, Some(Reason::Orphaned)),
            (terminating(running()), Some(&healthy), None),
            (terminating(running()), Some(&dead), Some(Reason::OutOfService)),
            (pod("a", "", "Pending", None), None, None),
            (terminating(pod("a", "", "Pending", None)), None, Some(Reason::Unscheduled)),
        ];
        for (number, (pod, node, expected)) in cases.into_iter().enumerate() {
            assert_eq!(plan(&pod, node), expected, "case {number}");
        }
    }
}
