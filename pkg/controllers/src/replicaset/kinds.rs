//! What ReplicaSets and ReplicationControllers have in common.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use kube::core::Selector;
use serde::Serialize;

use crate::owners::Selects;

/// A kind that keeps a number of equal pods.
pub(super) trait Replicated: Selects + Serialize {
    /// The service account and the source of the events.
    const NAME: &'static str;
    /// Whether the status counts terminating pods (KEP-3973; only ReplicaSets do).
    const COUNTS_TERMINATING: bool;
    /// `spec.replicas`, one by default.
    fn replicas(&self) -> i32;
    /// `spec.minReadySeconds`.
    fn min_ready_seconds(&self) -> i32;
    /// What pods are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// The status, in the form of a ReplicaSet's.
    fn status(&self) -> ReplicaSetStatus;
    /// The same object with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Selects for ReplicaSet {
    fn selector(&self) -> Option<Selector> {
        let selector = Selector::try_from(self.spec.as_ref()?.selector.clone()).ok()?;
        (!selector.selects_all()).then_some(selector)
    }
}

impl Replicated for ReplicaSet {
    const NAME: &'static str = "replicaset-controller";
    const COUNTS_TERMINATING: bool = true;

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Selects for ReplicationController {
    fn selector(&self) -> Option<Selector> {
        let selector = self.spec.as_ref()?.selector.clone().filter(|selector| !selector.is_empty())?;
        Some(selector.into_iter().collect())
    }
}

impl Replicated for ReplicationController {
    const NAME: &'static str = "replication-controller";
    const COUNTS_TERMINATING: bool = false;

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> ReplicaSetStatus {
        let Some(status) = self.status.clone() else { return ReplicaSetStatus::default() };
        let condition = |condition: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status,
            type_: condition.type_,
        };
        ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|conditions| conditions.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        }
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let condition = |condition: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status,
            type_: condition.type_,
        };
        let status = ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|conditions| conditions.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}
