//! A Deployment's ReplicaSets while a plan is made: copies that the plan changes, and that remember what they were.

use std::cmp::Ordering;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;

use super::history;
use super::wanted::Wanted;

/// One ReplicaSet.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) set: ReplicaSet,
    /// Its size on the server; `None` when it has to be created.
    pub(super) from: Option<i32>,
    pub(super) changed: bool,
}

impl Member {
    pub(super) fn existing(set: ReplicaSet) -> Self {
        let from = Some(size(&set));
        Self { set, from, changed: false }
    }

    pub(super) fn size(&self) -> i32 {
        size(&self.set)
    }

    pub(super) fn is_active(&self) -> bool {
        self.size() > 0
    }

    pub(super) fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
    }

    /// Pods that exist.
    pub(super) fn actual(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// Gives it another size, and notes the Deployment's on it. Says whether the size was another one.
    pub(super) fn scale(&mut self, to: i32, wanted: &Wanted) -> bool {
        if self.size() == to {
            return false;
        }
        self.resize(to, wanted);
        true
    }

    /// As [`Member::scale`], but the Deployment's size is noted even when that alone has changed.
    pub(super) fn resize(&mut self, to: i32, wanted: &Wanted) {
        let before = self.set.clone();
        if let Some(spec) = &mut self.set.spec {
            spec.replicas = Some(to);
        }
        history::note_size(self.set.annotations_mut(), wanted);
        self.changed |= self.set != before;
    }
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// By creation, then by name.
pub(super) fn by_age(left: &ReplicaSet, right: &ReplicaSet) -> Ordering {
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.clone();
    created(left).cmp(&created(right)).then_with(|| left.metadata.name.cmp(&right.metadata.name))
}
