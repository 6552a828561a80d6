//! Deletes pods that do not tolerate a `NoExecute` taint of their node, after as long as they tolerate it
//! (<https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions>).
//!
//! The time that a pod tolerates counts from when this process has seen the taint on its node.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use knarr_base::Shutdown;
use knarr_client::events::Type;
use knarr_client::{Action, Cache, Change, Controller, Key, Recorder};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use crate::deps::Deps;
use crate::disruption;
use crate::endpointslice::by_node;
use crate::error::{Error, gone_is_fine};
use crate::pods;

/// The source of the events; the identity is the node controller's, as upstream.
const NAME: &str = "taint-eviction-controller";

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let (pods, nodes) = (deps.cache::<Pod>(), deps.cache::<Node>());
    let on_node = by_node(&pods);
    let mut controller = Controller::new(NAME);
    controller.watch(&pods, |change| moved(change).then(|| change.key.clone()).into_iter().collect());
    controller.watch(&nodes, move |change: &Change<Node>| {
        let taints = |side: &Option<_>| side.as_deref().map(no_execute).unwrap_or_default();
        let changed = taints(&change.old) != taints(&change.new);
        let pods = if changed { on_node.get(change.key.name()) } else { Vec::new() };
        pods.iter().map(|pod| Key::of(pod.as_ref())).collect()
    });
    let client = deps.client(super::NAME);
    let recorder = deps.events.recorder(client.clone(), NAME, "");
    let work = Work { pods, nodes, client, recorder, since: Mutex::default() };
    controller.run(2, shutdown, |key| work.reconcile(key)).await
}

/// Whether a pod's node or tolerations have changed.
fn moved(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
    old.metadata.uid != new.metadata.uid || pods::node(old) != pods::node(new) || tolerations(old) != tolerations(new)
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

/// How long a pod may stay under taints.
#[derive(Debug, PartialEq, Eq)]
enum Stay {
    ForEver,
    For(Duration),
}

/// Of each taint the first toleration that matches counts, and of those the shortest time.
fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let Some(used) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Stay::For(Duration::ZERO);
        };
        shortest = [shortest, used.toleration_seconds].into_iter().flatten().min();
    }
    shortest.map_or(Stay::ForEver, |seconds| Stay::For(Duration::from_secs(u64::try_from(seconds).unwrap_or_default())))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

struct Work {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    client: Client,
    recorder: Recorder,
    /// Since when a pod (by its UID) has been under a taint that it tolerates for a while.
    since: Mutex<HashMap<Key, (Option<String>, Instant)>>,
}

impl Work {
    fn since(&self) -> MutexGuard<'_, HashMap<Key, (Option<String>, Instant)>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let pod = self.pods.at(&key).filter(|pod| pods::is_active(pod));
        let node = pod.as_ref().and_then(|pod| self.nodes.get("", pods::node(pod)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.since().remove(&key);
            return Ok(Action::Done);
        };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        let Stay::For(allowed) = stay(&no_execute(&node), &tolerations) else {
            if self.since().remove(&key).is_some() {
                let message = format!("Cancelling deletion of Pod {key}");
                self.recorder.event(pod.as_ref(), Type::Normal, "TaintManagerEviction", message);
            }
            return Ok(Action::Done);
        };
        let left = allowed.saturating_sub(self.stayed(&key, &pod));
        if !left.is_zero() {
            return Ok(Action::After(left));
        }
        self.evict(&key, &pod).await?;
        self.since().remove(&key);
        Ok(Action::Done)
    }

    fn stayed(&self, key: &Key, pod: &Pod) -> Duration {
        let mut since = self.since();
        let now = || (pod.uid(), Instant::now());
        let entry = since.entry(key.clone()).or_insert_with(now);
        if entry.0 != pod.uid() {
            *entry = now();
        }
        entry.1.elapsed()
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(pod, Type::Normal, "TaintManagerEviction", message);
        let api = Api::<Pod>::namespaced(self.client.clone(), key.namespace());
        let reason = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        disruption::mark(&api, pod, None, Some(reason)).await?;
        let exactly = Preconditions { uid: pod.uid(), resource_version: None };
        gone_is_fine(api.delete(key.name(), &DeleteParams::default().preconditions(exactly)).await)?;
        let uid = pod.uid();
        Ok(self.pods.until(key, |now| now.is_none_or(|now| now.metadata.uid != uid || !pods::is_active(now))).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), effect: "NoExecute".into(), value: Some("v".into()), ..Default::default() }
    }

    fn toleration(key: &str, operator: &str, value: &str, seconds: Option<i64>) -> Toleration {
        let optional = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Toleration {
            key: optional(key),
            operator: optional(operator),
            value: optional(value),
            effect: None,
            toleration_seconds: seconds,
        }
    }

    #[test]
    fn the_shortest_of_the_used_tolerations_counts() {
        let seconds = |seconds| Stay::For(Duration::from_secs(seconds));
        let cases = [
            (vec![], vec![], Stay::ForEver),
            (vec!["a"], vec![], seconds(0)),
            (vec!["a"], vec![toleration("", "Exists", "", None)], Stay::ForEver),
            (vec!["a"], vec![toleration("a", "Exists", "", Some(300))], seconds(300)),
            // The first that matches a taint counts, as upstream.
            (
                vec!["a"],
                vec![toleration("a", "Equal", "v", Some(300)), toleration("a", "Exists", "", Some(20))],
                seconds(300),
            ),
            (
                vec!["a"],
                vec![toleration("", "Exists", "", None), toleration("a", "Exists", "", Some(20))],
                Stay::ForEver,
            ),
            (vec!["a"], vec![toleration("a", "Equal", "w", None)], seconds(0)),
            (vec!["a", "b"], vec![toleration("a", "Exists", "", None)], seconds(0)),
            (vec!["a", "b"], vec![toleration("a", "", "v", None), toleration("b", "Exists", "", Some(7))], seconds(7)),
            (vec!["a"], vec![toleration("a", "Exists", "", Some(-1))], seconds(0)),
        ];
        for (taints, tolerations, expected) in cases {
            let taints: Vec<_> = taints.into_iter().map(taint).collect();
            assert_eq!(stay(&taints, &tolerations), expected, "{taints:?} {tolerations:?}");
        }
    }

    #[test]
    fn effects_are_compared() {
        let other = Toleration { effect: Some("NoSchedule".into()), ..toleration("a", "Exists", "", None) };
        assert!(!tolerates(&other, &taint("a")));
    }
}
