//! Facts about pods that several controllers judge by.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// `status.phase`; empty before the first status.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The node that the pod is bound to; empty before.
pub(crate) fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Whether all containers have ended for good.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod does, or may come to do, its work.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod was asked to end and has not yet.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// The condition of that type.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod is ready for traffic.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when the pod is ready; `None` when it is not, or does not say.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether the pod has been ready for `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds <= 0 || ready_since(pod).is_some() && available_in(pod, min_ready_seconds, now).is_none())
}

/// How long until a ready pod becomes available; `None` when it is already, or is not ready.
pub(crate) fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let wanted = SignedDuration::from_secs(min_ready_seconds.into());
    let left = wanted.saturating_sub(now.duration_since(ready_since(pod)?));
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    /// Seconds after some fixed time.
    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    /// A pod with the labels `app=web`, ready since `at(ready)` when that is given.
    pub(crate) fn pod(name: &str, node: &str, phase: &str, ready: Option<i64>) -> Pod {
        let mut pod = Pod {
            spec: Some(PodSpec {
                node_name: Some(node.to_owned()).filter(|node| !node.is_empty()),
                ..Default::default()
            }),
            status: Some(PodStatus { phase: Some(phase.into()), ..Default::default() }),
            ..Pod::default()
        };
        pod.metadata.name = Some(name.into());
        pod.metadata.namespace = Some("shop".into());
        pod.metadata.uid = Some(format!("uid-{name}"));
        pod.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        pod.metadata.creation_timestamp = Some(Time(at(0)));
        if let Some(since) = ready {
            let condition = PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Some(Time(at(since))),
                ..Default::default()
            };
            pod.status.as_mut().unwrap().conditions = Some(vec![condition]);
        }
        pod
    }

    #[test]
    fn availability_needs_time() {
        let cases = [
            (None, 0, false, None),
            (Some(0), 0, true, None),
            (Some(0), 10, true, None),
            (Some(95), 10, false, Some(5)),
            (Some(90), 10, true, None),
        ];
        for (ready, min, available, wait) in cases {
            let pod = pod("a", "n", "Running", ready);
            assert_eq!(is_available(&pod, min, at(100)), available, "ready {ready:?}, min {min}");
            assert_eq!(available_in(&pod, min, at(100)), wait.map(Duration::from_secs), "ready {ready:?}, min {min}");
        }
    }
}
