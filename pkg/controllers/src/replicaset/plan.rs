//! How many pods to create or delete, and what the status says: no I/O.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::rank;
use crate::owners::matches;
use crate::pods;

/// At most so many pods are created or deleted before the next look (upstream's `BurstReplicas`).
const BURST: usize = 500;

const FAILURE: &str = "ReplicaFailure";

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    Keep,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// Compares what is there with what is wanted. `related` are the pods of all ReplicaSets of the same Deployment: pods on
/// crowded nodes go first.
pub(super) fn plan(wanted: i32, mut active: Vec<Arc<Pod>>, related: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = usize::try_from(wanted).unwrap_or_default();
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    if surplus > 0 {
        rank::sort_for_deletion(&mut active, related, now);
        active.truncate(surplus);
        return Plan::Delete(active);
    }
    match wanted.saturating_sub(active.len()).min(BURST) {
        0 => Plan::Keep,
        missing => Plan::Create(missing),
    }
}

/// A pod of `template` for `owner`, named `PREFIX-xxxxx` by the server.
pub(super) fn pod(template: &PodTemplateSpec, owner: OwnerReference) -> Pod {
    let mut pod = Pod { spec: template.spec.clone(), ..Pod::default() };
    if let Some(meta) = &template.metadata {
        pod.metadata.labels.clone_from(&meta.labels);
        pod.metadata.annotations.clone_from(&meta.annotations);
        pod.metadata.finalizers.clone_from(&meta.finalizers);
    }
    pod.metadata.generate_name = Some(format!("{}-", owner.name));
    pod.metadata.owner_references = Some(vec![owner]);
    pod
}

/// What a status is made from.
pub(super) struct Observed<'a> {
    pub(super) generation: Option<i64>,
    pub(super) wanted: i32,
    pub(super) min_ready_seconds: i32,
    pub(super) template: Option<&'a PodTemplateSpec>,
    pub(super) active: &'a [Arc<Pod>],
    /// `None` for kinds that do not count them.
    pub(super) terminating: Option<usize>,
    /// What creating or deleting pods failed with.
    pub(super) failure: Option<String>,
    pub(super) now: Timestamp,
}

/// The status that follows from `observed`; conditions that go on keep their times.
pub(super) fn status(old: &ReplicaSetStatus, observed: &Observed<'_>) -> ReplicaSetStatus {
    let count = |holds: &dyn Fn(&Pod) -> bool| number(observed.active.iter().filter(|pod| holds(pod)).count());
    let labels = observed.template.and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let template = labels.into_iter().collect();
    let available = |pod: &Pod| pods::is_available(pod, observed.min_ready_seconds, observed.now);
    ReplicaSetStatus {
        replicas: number(observed.active.len()),
        fully_labeled_replicas: Some(count(&|pod| matches(&template, pod.metadata.labels.as_ref()))),
        ready_replicas: Some(count(&pods::is_ready)),
        available_replicas: Some(count(&available)),
        terminating_replicas: observed.terminating.map(number),
        observed_generation: observed.generation,
        conditions: conditions(old, observed),
    }
}

fn conditions(old: &ReplicaSetStatus, observed: &Observed<'_>) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    match &observed.failure {
        None => conditions.retain(|condition| condition.type_ != FAILURE),
        Some(_) if conditions.iter().any(|condition| condition.type_ == FAILURE) => {}
        Some(message) => {
            let missing = number(observed.active.len()) < observed.wanted;
            conditions.push(ReplicaSetCondition {
                type_: FAILURE.into(),
                status: "True".into(),
                reason: Some(if missing { "FailedCreate" } else { "FailedDelete" }.into()),
                message: Some(message.clone()),
                last_transition_time: Some(Time(observed.now)),
            });
        }
    }
    Some(conditions).filter(|conditions| !conditions.is_empty())
}

/// Whether writing `new` would change what a reader sees.
pub(super) fn differs(old: &ReplicaSetStatus, new: &ReplicaSetStatus) -> bool {
    // The server leaves zeros out: absent and zero are the same.
    let plain = |status: &ReplicaSetStatus| ReplicaSetStatus {
        fully_labeled_replicas: Some(status.fully_labeled_replicas.unwrap_or_default()),
        ready_replicas: Some(status.ready_replicas.unwrap_or_default()),
        available_replicas: Some(status.available_replicas.unwrap_or_default()),
        observed_generation: Some(status.observed_generation.unwrap_or_default()),
        conditions: Some(status.conditions.clone().unwrap_or_default()),
        ..status.clone()
    };
    plain(old) != plain(new)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};

    fn pods(ready: &[Option<i64>]) -> Vec<Arc<Pod>> {
        ready.iter().enumerate().map(|(n, ready)| Arc::new(pod(&n.to_string(), "n", "Running", *ready))).collect()
    }

    #[test]
    fn creates_what_is_missing_and_deletes_what_is_too_much() {
        let three = pods(&[Some(0), None, Some(50)]);
        assert_eq!(plan(3, three.clone(), &[], at(100)), Plan::Keep);
        assert_eq!(plan(5, three.clone(), &[], at(100)), Plan::Create(2));
        assert_eq!(plan(9999, three.clone(), &[], at(100)), Plan::Create(500));
        let Plan::Delete(gone) = plan(2, three.clone(), &[], at(100)) else { panic!() };
        assert_eq!(gone, [three[1].clone()], "the one that is not ready");
        let Plan::Delete(gone) = plan(-1, three, &[], at(100)) else { panic!() };
        assert_eq!(gone.len(), 3);
    }

    #[test]
    fn the_status_counts() {
        let active = pods(&[Some(0), Some(95), None]);
        let labels = Some([("app".to_owned(), "web".to_owned())].into());
        let meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta { labels, ..Default::default() };
        let template = PodTemplateSpec { metadata: Some(meta), ..Default::default() };
        let mut observed = Observed {
            generation: Some(4),
            wanted: 5,
            min_ready_seconds: 10,
            template: Some(&template),
            active: &active,
            terminating: Some(1),
            failure: Some("quota".into()),
            now: at(100),
        };
        let failed = status(&ReplicaSetStatus::default(), &observed);
        assert_eq!((failed.replicas, failed.ready_replicas, failed.available_replicas), (3, Some(2), Some(1)));
        assert_eq!((failed.fully_labeled_replicas, failed.terminating_replicas), (Some(3), Some(1)));
        let condition = &failed.conditions.as_ref().unwrap()[0];
        assert_eq!((condition.reason.as_deref(), condition.message.as_deref()), (Some("FailedCreate"), Some("quota")));
        observed.now = at(200);
        observed.failure = Some("other".into());
        assert_eq!(status(&failed, &observed).conditions, failed.conditions, "a failure that goes on is not touched");
        observed.failure = None;
        assert_eq!(status(&failed, &observed).conditions, None);
    }

    #[test]
    fn absent_and_zero_are_the_same() {
        let zero = ReplicaSetStatus { ready_replicas: Some(0), conditions: Some(vec![]), ..Default::default() };
        assert!(!differs(&ReplicaSetStatus::default(), &zero));
        assert!(differs(&ReplicaSetStatus::default(), &ReplicaSetStatus { replicas: 1, ..zero }));
    }
}
