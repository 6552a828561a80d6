//! Which pods go first when there are too many.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts `active` so that the pods to delete come first
/// (<https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset>).
///
/// Ages are compared by their magnitude (base-2 logarithm of nanoseconds), and pods of the same magnitude by UID, so that
/// the choice among equals is random (KEP-2185).
pub(super) fn sort_for_deletion(active: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowd.entry(pods::node(pod)).or_default() += 1;
    }
    active.sort_by(|left, right| {
        let neighbours = |pod: &Pod| Reverse(crowd.get(pods::node(pod)).copied().unwrap_or_default());
        by_state(left)
            .cmp(&by_state(right))
            .then_with(|| neighbours(left).cmp(&neighbours(right)))
            .then_with(|| by_history(left, right, now))
    });
}

/// Unassigned, then pending, then unknown, then not ready, then cheap.
fn by_state(pod: &Pod) -> (bool, u8, bool, i32) {
    let progress = match pods::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok());
    (!pods::node(pod).is_empty(), progress, pods::is_ready(pod), cost.unwrap_or_default())
}

/// Younger readiness, then more restarts, then younger age.
fn by_history(left: &Pod, right: &Pod, now: Timestamp) -> Ordering {
    let by_uid = || left.metadata.uid.cmp(&right.metadata.uid);
    if pods::is_ready(left) && pods::is_ready(right) {
        let (a, b) = (pods::ready_since(left), pods::ready_since(right));
        if a != b {
            return magnitude(a, now).cmp(&magnitude(b, now)).then_with(by_uid);
        }
    }
    let (a, b) = (created(left), created(right));
    let by_age = || if a == b { Ordering::Equal } else { magnitude(a, now).cmp(&magnitude(b, now)).then_with(by_uid) };
    restarts(right).cmp(&restarts(left)).then_with(by_age)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The base-2 logarithm of an age in nanoseconds; an unknown time is younger than everything.
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(since) = since else { return -2 };
    let age = now.duration_since(since).as_nanos();
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let regular = status.container_statuses.iter().flatten().map(|container| container.restart_count).max();
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<_> =
        init.filter(|container| container.restart_policy.as_deref() == Some("Always")).map(|c| &c.name).collect();
    let sidecar =
        status.init_container_statuses.iter().flatten().filter(|container| sidecars.contains(&&container.name));
    (regular.unwrap_or_default(), sidecar.map(|container| container.restart_count).max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::api::core::v1::ContainerStatus;

    fn cost(mut pod: Pod, cost: &str) -> Pod {
        pod.metadata.annotations = Some([(DELETION_COST.to_owned(), cost.to_owned())].into());
        pod
    }

    fn restarted(mut pod: Pod, times: i32) -> Pod {
        let container = ContainerStatus { restart_count: times, ..Default::default() };
        pod.status.as_mut().unwrap().container_statuses = Some(vec![container]);
        pod
    }

    #[test]
    fn the_first_rule_that_tells_them_apart_decides() {
        let base = |name: &str| pod(name, "n", "Running", Some(0));
        let cases = [
            ("unassigned", pod("z", "", "Running", Some(0)), base("a")),
            ("pending", pod("z", "n", "Pending", Some(0)), base("a")),
            ("unknown before running", pod("z", "n", "Unknown", Some(0)), base("a")),
            ("not ready", pod("z", "n", "Running", None), base("a")),
            ("cheaper", cost(base("z"), "-5"), base("a")),
            ("crowded node", pod("z", "crowded", "Running", Some(0)), base("a")),
            ("ready for less time", pod("z", "n", "Running", Some(900)), base("a")),
            ("more restarts", restarted(base("z"), 3), base("a")),
            ("equal magnitude: by UID", pod("a", "n", "Running", Some(1)), base("z")),
        ];
        let related: Vec<_> = ["x", "y"].map(|name| Arc::new(pod(name, "crowded", "Running", None))).into();
        for (rule, first, second) in cases {
            for mut pods in [[&first, &second], [&second, &first]].map(|pair| pair.map(|pod| Arc::new(pod.clone()))) {
                sort_for_deletion(&mut pods, &related, at(1000));
                assert_eq!(*pods[0], first, "{rule}");
            }
        }
    }
}
