//! What a Deployment's status says.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use kube::ResourceExt;

use super::conditions;
use super::fleet::Member;
use super::plan::Rollout;

impl Rollout<'_> {
    /// Counts pods, and judges whether enough are available.
    pub(super) fn count(&mut self) {
        let available = self.sum(Member::available);
        let ready = |member: &Member| member.set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or_default();
        self.status = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: Some(self.sum(Member::actual)),
            updated_replicas: Some(self.new.as_ref().map_or(0, Member::actual)),
            ready_replicas: Some(self.sum(ready)),
            available_replicas: Some(available),
            unavailable_replicas: Some((self.sum(Member::size) - available).max(0)),
            terminating_replicas: self.terminating(),
            collision_count: self.before.collision_count,
            conditions: None,
        };
        let (status, reason, message) = if available >= self.wanted.replicas - self.wanted.max_unavailable {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        let condition = conditions::new(conditions::AVAILABLE, status, reason, message, self.now);
        conditions::set(&mut self.conditions, condition);
    }

    /// `None` as long as a set that was looked at does not say.
    fn terminating(&self) -> Option<i32> {
        let said = self.all().filter_map(|member| member.set.status.as_ref()).filter_map(|status| {
            match (status.observed_generation, status.terminating_replicas) {
                (None | Some(0), None) => None,
                (_, count) => Some(count),
            }
        });
        said.sum()
    }

    /// Judges how the rollout goes: complete, progressing, or beyond its deadline.
    pub(super) fn judge_progress(&mut self) {
        if let Some(deadline) = self.wanted.progress_deadline {
            let current = conditions::find(&self.conditions, conditions::PROGRESSING).cloned();
            let was_complete = self.status.replicas == self.status.updated_replicas
                && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"));
            if !was_complete {
                self.judge(current, deadline);
            }
        } else {
            conditions::remove(&mut self.conditions, conditions::PROGRESSING);
        }
        match self.failure() {
            Some(failure) => conditions::set(&mut self.conditions, failure),
            None => conditions::remove(&mut self.conditions, conditions::REPLICA_FAILURE),
        }
    }

    fn judge(&mut self, current: Option<DeploymentCondition>, deadline: i32) {
        let subject = match &self.new {
            Some(new) => format!("ReplicaSet \"{}\"", new.set.name_any()),
            None => format!("Deployment \"{}\"", self.deployment.name_any()),
        };
        if self.is_complete(&self.status) {
            self.set_progress("True", "NewReplicaSetAvailable", format!("{subject} has successfully progressed."));
        } else if self.has_progressed() {
            let message = format!("{subject} is progressing.");
            let mut condition =
                conditions::new(conditions::PROGRESSING, "True", "ReplicaSetUpdated", message, self.now);
            // The update time moves with every sign of progress, the transition time does not.
            if let Some(current) = current.filter(|current| current.status == "True") {
                condition.last_transition_time = current.last_transition_time;
            }
            conditions::replace(&mut self.conditions, condition);
        } else if current.is_some_and(|current| self.is_late(&current, deadline)) {
            let message = format!("{subject} has timed out progressing.");
            self.set_progress("False", "ProgressDeadlineExceeded", message);
        }
    }

    /// All wanted pods are new and available, and no others exist.
    pub(super) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let all = |count: Option<i32>| count.unwrap_or_default() == self.wanted.replicas;
        all(status.updated_replicas)
            && all(status.replicas)
            && all(status.available_replicas)
            && status.observed_generation.unwrap_or_default() >= self.deployment.metadata.generation.unwrap_or_default()
    }

    /// More new, ready or available pods than before, or fewer old ones.
    fn has_progressed(&self) -> bool {
        let number = Option::<i32>::unwrap_or_default;
        let (before, after) = (&self.before, &self.status);
        let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
        number(after.updated_replicas) > number(before.updated_replicas)
            || old(after) < old(before)
            || number(after.ready_replicas) > number(before.ready_replicas)
            || number(after.available_replicas) > number(before.available_replicas)
    }

    fn is_late(&self, current: &DeploymentCondition, deadline: i32) -> bool {
        match current.reason.as_deref() {
            Some("NewReplicaSetAvailable") => false,
            Some("ProgressDeadlineExceeded") => true,
            _ => self.left(current, deadline).is_some_and(|left| left.is_negative()),
        }
    }

    /// Time until the deadline after the last sign of progress.
    fn left(&self, current: &DeploymentCondition, deadline: i32) -> Option<SignedDuration> {
        let since = self.now.duration_since(current.last_update_time.as_ref()?.0);
        Some(SignedDuration::from_secs(deadline.into()).saturating_sub(since))
    }

    /// When the deadline has to be looked at; a second late, since times are stored in whole seconds.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let current = conditions::find(&self.conditions, conditions::PROGRESSING)?;
        let over = current.reason.as_deref() == Some("ProgressDeadlineExceeded") || self.wanted.paused;
        if over || self.is_complete(&self.status) {
            return None;
        }
        let left = self.left(current, self.wanted.progress_deadline?)?;
        Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
    }

    /// The failure of a set to make pods; that of the new one counts first.
    fn failure(&self) -> Option<DeploymentCondition> {
        let failures = self.new.iter().chain(&self.old).filter_map(|member| {
            let conditions = member.set.status.as_ref()?.conditions.as_ref()?;
            conditions.iter().find(|condition| condition.type_ == conditions::REPLICA_FAILURE)
        });
        failures.map(conditions::inherited).next()
    }
}

/// Whether writing `new` would change what a reader sees; absent and zero are the same.
pub(super) fn differs(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let plain = |status: &DeploymentStatus| DeploymentStatus {
        available_replicas: Some(status.available_replicas.unwrap_or_default()),
        collision_count: status.collision_count,
        conditions: Some(status.conditions.clone().unwrap_or_default()),
        observed_generation: Some(status.observed_generation.unwrap_or_default()),
        ready_replicas: Some(status.ready_replicas.unwrap_or_default()),
        replicas: Some(status.replicas.unwrap_or_default()),
        terminating_replicas: status.terminating_replicas,
        unavailable_replicas: Some(status.unavailable_replicas.unwrap_or_default()),
        updated_replicas: Some(status.updated_replicas.unwrap_or_default()),
    };
    plain(old) != plain(new)
}
