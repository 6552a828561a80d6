//! Revisions: the annotations by which `kubectl rollout history` and `undo` know old templates.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;

use super::wanted::Wanted;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// The revision history is cut at its old end above so many characters.
const HISTORY_LENGTH: usize = 2000;

/// The revision of a ReplicaSet; zero when it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

/// Copies the Deployment's annotations to its newest ReplicaSet and raises that one's revision to at least `next`. A set
/// that had a revision before was rolled back to: the old number goes into its history.
pub(super) fn annotate(set: &mut ReplicaSet, deployment: &Deployment, next: i64) {
    let own = set.annotations_mut();
    for (key, value) in deployment.annotations() {
        if !NOT_INHERITED.contains(&key.as_str()) {
            own.insert(key.clone(), value.clone());
        }
    }
    let before = own.get(REVISION).cloned();
    let Ok(number) = before.as_deref().map_or(Ok(0), str::parse::<i64>) else { return };
    if number >= next {
        return;
    }
    own.insert(REVISION.into(), next.to_string());
    if let Some(before) = before {
        let history = own.get(HISTORY).map_or("", String::as_str);
        own.insert(HISTORY.into(), remember(history, &before));
    }
}

fn remember(history: &str, revision: &str) -> String {
    let mut revisions: Vec<&str> = history.split(',').filter(|old| !old.is_empty()).collect();
    revisions.push(revision);
    while revisions.len() > 1 && revisions.iter().map(|old| old.len() + 1).sum::<usize>() > HISTORY_LENGTH {
        revisions.remove(0);
    }
    revisions.join(",")
}

/// Notes the size of the Deployment on a ReplicaSet: the base of proportional scaling, and how scaling is told apart from a
/// rollout.
pub(super) fn note_size(annotations: &mut BTreeMap<String, String>, wanted: &Wanted) {
    annotations.insert(DESIRED.into(), wanted.replicas.to_string());
    annotations.insert(MAXIMUM.into(), wanted.max_replicas().to_string());
}

/// The size of the Deployment when the set was scaled last.
pub(super) fn noted_desired(set: &ReplicaSet) -> Option<i32> {
    noted(set, DESIRED)
}

/// The size of the Deployment with its surge when the set was scaled last.
pub(super) fn noted_maximum(set: &ReplicaSet) -> Option<i32> {
    noted(set, MAXIMUM)
}

fn noted(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.annotations().get(key)?.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(annotations: &[(&str, &str)]) -> ReplicaSet {
        let mut set = ReplicaSet::default();
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        set.metadata.annotations = Some(pairs.collect());
        set
    }

    #[test]
    fn revisions_rise_and_old_ones_are_remembered() {
        let mut deployment = Deployment::default();
        let inherited = [("kubernetes.io/change-cause", "v2"), (REVISION, "9")];
        deployment.metadata.annotations = set(&inherited).metadata.annotations;
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Pairs<'_>, Pairs<'_>); 4] = [
            (&[], &[(REVISION, "4")]),
            (&[(REVISION, "7")], &[(REVISION, "7")]),
            (&[(REVISION, "2")], &[(REVISION, "4"), (HISTORY, "2")]),
            (&[(REVISION, "3"), (HISTORY, "1")], &[(REVISION, "4"), (HISTORY, "1,3")]),
        ];
        for (before, after) in cases {
            let mut annotated = set(before);
            annotate(&mut annotated, &deployment, 4);
            let expected = [after, &[("kubernetes.io/change-cause", "v2")]].concat();
            assert_eq!(annotated.annotations(), set(&expected).annotations(), "{before:?}");
        }
    }

    #[test]
    fn history_is_bounded() {
        let long = (1000..2000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let remembered = remember(&long, "2000");
        assert!(remembered.len() <= HISTORY_LENGTH && remembered.ends_with(",1999,2000"), "{}", remembered.len());
    }
}
