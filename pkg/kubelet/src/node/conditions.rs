//! The node's conditions, with upstream's reasons and messages.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What the conditions follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Why the runtime or the pod network is not ready.
    pub(crate) not_ready: Vec<String>,
    pub(crate) memory_pressure: bool,
    pub(crate) disk_pressure: bool,
    pub(crate) pid_pressure: bool,
}

/// The conditions; each keeps the time of its last change.
pub(crate) fn build(health: &Health, before: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let ready = match health.not_ready.as_slice() {
        [] => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        causes => ("Ready", false, "KubeletNotReady", causes.join(", ")),
    };
    let pressure = |kind, holds, (with, has): (&'static str, &str), (without, lacks): (&'static str, &str)| {
        if holds { (kind, true, with, has.to_owned()) } else { (kind, false, without, lacks.to_owned()) }
    };
    let all = [
        pressure(
            "MemoryPressure",
            health.memory_pressure,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            health.disk_pressure,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            health.pid_pressure,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    all.into_iter()
        .map(|(kind, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let former = before.iter().find(|condition| condition.type_ == kind);
            let since =
                former.filter(|former| former.status == status).and_then(|former| former.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: since.or(Some(Time(now))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(1000).unwrap());
        let broken = Health { not_ready: vec!["no network".into()], ..Health::default() };
        let first = build(&broken, &[], early);
        let ready = |list: &[NodeCondition]| list.iter().find(|condition| condition.type_ == "Ready").cloned().unwrap();
        assert_eq!(ready(&first).message.as_deref(), Some("no network"));
        let second = build(&broken, &first, late);
        assert_eq!(ready(&second).last_transition_time.unwrap().0, early);
        let third = build(&Health::default(), &second, late);
        assert_eq!((ready(&third).status.as_str(), ready(&third).last_transition_time.unwrap().0), ("True", late));
        assert_eq!(third.iter().filter(|condition| condition.status == "True").count(), 1);
    }
}
