//! What a Deployment needs next: a pure function of what is there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use kube::ResourceExt;

use super::fleet::{self, Member};
use super::wanted::Wanted;
use super::{conditions, hash, history};
use crate::owners;

/// What is there.
pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Deployment,
    /// Those that the Deployment controls.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// UIDs of ReplicaSets with pods that have not ended.
    pub(super) busy: HashSet<String>,
    pub(super) now: Timestamp,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    /// ReplicaSets to create or change, with the size they had.
    pub(super) write: Vec<Member>,
    /// Names of ReplicaSets that are older than the history goes.
    pub(super) delete: Vec<String>,
    /// The Deployment's revision annotation.
    pub(super) revision: Option<String>,
    pub(super) status: DeploymentStatus,
    /// When to look at the progress deadline.
    pub(super) again: Option<Duration>,
}

/// Plans the next step. Each step is safe on its own; what it causes brings the next one.
pub(super) fn plan(observed: Observed<'_>) -> Plan {
    let mut rollout = Rollout::new(observed);
    if rollout.deployment.metadata.deletion_timestamp.is_some() {
        rollout.count();
        return rollout.finish(Vec::new());
    }
    rollout.note_pause();
    let mut delete = Vec::new();
    if rollout.wanted.paused || rollout.is_scaled() {
        rollout.sync_new(false);
        rollout.scale();
        if rollout.wanted.paused {
            delete = rollout.outdated();
        }
        rollout.count();
        return rollout.finish(delete);
    }
    let settled = if rollout.wanted.rolling { rollout.roll() } else { rollout.recreate() };
    if settled && rollout.is_complete(&rollout.before) {
        delete = rollout.outdated();
    }
    rollout.count();
    rollout.judge_progress();
    rollout.finish(delete)
}

/// A plan in the making.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) wanted: Wanted,
    pub(super) new: Option<Member>,
    /// The oldest first.
    pub(super) old: Vec<Member>,
    pub(super) busy: HashSet<String>,
    /// The status on the server.
    pub(super) before: DeploymentStatus,
    pub(super) status: DeploymentStatus,
    pub(super) conditions: Vec<DeploymentCondition>,
    revision: Option<String>,
    pub(super) now: Timestamp,
}

impl<'a> Rollout<'a> {
    fn new(observed: Observed<'a>) -> Self {
        let Observed { deployment, mut sets, busy, now } = observed;
        sets.sort_by(|left, right| fleet::by_age(left, right));
        // With several sets of the same template, the oldest is the one.
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let newest = sets.iter().position(|set| template.is_some_and(|template| hash::is_of(set, template)));
        let new = newest.map(|at| Member::existing(sets.remove(at).as_ref().clone()));
        let before = deployment.status.clone().unwrap_or_default();
        Self {
            deployment,
            wanted: Wanted::of(deployment),
            new,
            old: sets.into_iter().map(|set| Member::existing(set.as_ref().clone())).collect(),
            busy,
            status: before.clone(),
            conditions: before.conditions.clone().unwrap_or_default(),
            before,
            revision: None,
            now,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.old.iter().chain(&self.new)
    }

    /// The sum of what `count` says of all sets.
    pub(super) fn sum(&self, count: impl Fn(&Member) -> i32) -> i32 {
        self.all().map(count).fold(0, i32::saturating_add)
    }

    /// Pausing stops the clock of the progress deadline, and resuming starts it anew.
    fn note_pause(&mut self) {
        let reason = conditions::find(&self.conditions, conditions::PROGRESSING).and_then(|c| c.reason.as_deref());
        let (status_reason, message) = match (self.wanted.paused, reason) {
            (_, Some("ProgressDeadlineExceeded")) => return,
            (true, reason) if reason != Some("DeploymentPaused") => ("DeploymentPaused", "Deployment is paused"),
            (false, Some("DeploymentPaused")) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return,
        };
        if self.wanted.progress_deadline.is_some() {
            self.set_progress("Unknown", status_reason, message.to_owned());
        }
    }

    pub(super) fn set_progress(&mut self, status: &str, reason: &str, message: String) {
        let condition = conditions::new(conditions::PROGRESSING, status, reason, message, self.now);
        conditions::set(&mut self.conditions, condition);
    }

    /// Whether the Deployment's size has changed since its sets were scaled: then no rollout step is taken.
    fn is_scaled(&self) -> bool {
        let noted = self.all().filter(|member| member.is_active()).filter_map(|m| history::noted_desired(&m.set));
        noted.into_iter().any(|desired| desired != self.wanted.replicas)
    }

    /// Brings the newest set's annotations up to date, or makes it when `create` says so.
    pub(super) fn sync_new(&mut self, create: bool) {
        let next = self.old.iter().map(|member| history::revision(&member.set)).max().unwrap_or_default() + 1;
        if let Some(new) = &mut self.new {
            let before = new.set.clone();
            history::annotate(&mut new.set, self.deployment, next);
            if let Some(spec) = &mut new.set.spec
                && spec.min_ready_seconds.unwrap_or_default() != self.wanted.min_ready_seconds
            {
                spec.min_ready_seconds = Some(self.wanted.min_ready_seconds);
            }
            new.changed |= new.set != before;
            let (name, revision) = (new.set.name_any(), new.set.annotations().get(history::REVISION).cloned());
            self.revision = revision;
            let unknown = conditions::find(&self.conditions, conditions::PROGRESSING).is_none();
            if unknown && self.wanted.progress_deadline.is_some() {
                self.set_progress("True", "FoundNewReplicaSet", format!("Found new replica set \"{name}\""));
            }
        } else if create {
            self.create_new(next);
        }
    }

    fn create_new(&mut self, revision: i64) {
        let Some(spec) = &self.deployment.spec else { return };
        let hash = hash::of(&spec.template, self.before.collision_count);
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(hash::LABEL.into(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(hash::LABEL.into(), hash.clone());
        let mut set = ReplicaSet {
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            ..ReplicaSet::default()
        };
        set.metadata.name = Some(set_name(&self.deployment.name_any(), &hash));
        set.metadata.namespace.clone_from(&self.deployment.metadata.namespace);
        set.metadata.labels = Some(labels);
        set.metadata.owner_references = Some(vec![owners::reference(self.deployment)]);
        history::annotate(&mut set, self.deployment, revision);
        let mut member = Member { set, from: None, changed: true };
        let size = self.room_for_new(&member);
        member.resize(size, &self.wanted);
        if self.wanted.progress_deadline.is_some() {
            let message = format!("Created new replica set \"{}\"", member.set.name_any());
            self.set_progress("True", "NewReplicaSetCreated", message);
        }
        self.revision = Some(revision.to_string());
        self.new = Some(member);
    }

    /// Old sets that the history does not keep: the lowest revisions first, never one that has or wants pods.
    fn outdated(&self) -> Vec<String> {
        let Some(limit) = self.wanted.history_limit else { return Vec::new() };
        let mut alive: Vec<_> = self.old.iter().filter(|m| m.set.metadata.deletion_timestamp.is_none()).collect();
        alive.sort_by_key(|member| history::revision(&member.set));
        let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        let idle = |member: &&&Member| {
            let seen = member.set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default();
            !member.is_active() && member.actual() == 0 && seen >= member.set.metadata.generation.unwrap_or_default()
        };
        alive.iter().take(surplus).filter(idle).map(|member| member.set.name_any()).collect()
    }

    fn finish(self, delete: Vec<String>) -> Plan {
        let again = self.next_look();
        let revision =
            self.revision.filter(|revision| self.deployment.annotations().get(history::REVISION) != Some(revision));
        let conditions = Some(self.conditions).filter(|conditions| !conditions.is_empty());
        let write = self.new.into_iter().chain(self.old).filter(|member| member.changed).collect();
        Plan { write, delete, revision, status: DeploymentStatus { conditions, ..self.status }, again }
    }
}

/// `DEPLOYMENT-HASH`, cut to the 253 characters that a name may have.
fn set_name(deployment: &str, hash: &str) -> String {
    let longest = 253 - 1 - hash.len();
    format!("{}-{hash}", deployment.get(..longest).unwrap_or(deployment))
}
