//! Requests and limits as the runtime's numbers.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::cgroup::{PERIOD, Qos};
use crate::cri::api;
use crate::pod::spec::{PodExt as _, Total, amount, milli, quota, shares};

/// What the node has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Bytes.
    pub(crate) memory: i64,
    /// Its cgroups are v2's.
    pub(crate) unified: bool,
    /// Its cgroups can limit swap.
    pub(crate) swap: bool,
}

pub(super) fn container(pod: &Pod, container: &Container, capacity: Capacity) -> api::LinuxContainerResources {
    let resources = container.resources.as_ref();
    let (limits, requests) =
        (resources.and_then(|all| all.limits.as_ref()), resources.and_then(|all| all.requests.as_ref()));
    let pod_limits = pod.spec().resources.as_ref().and_then(|all| all.limits.as_ref());
    let cpu_limit = milli(limits, "cpu").filter(|limit| *limit > 0).or_else(|| milli(pod_limits, "cpu"));
    let memory_limit = amount(limits, "memory").filter(|limit| *limit > 0).or_else(|| amount(pod_limits, "memory"));
    let cpu_request = milli(requests, "cpu").or(cpu_limit).unwrap_or(0);
    api::LinuxContainerResources {
        cpu_shares: i64::try_from(shares(cpu_request)).unwrap_or(2),
        cpu_period: PERIOD,
        cpu_quota: cpu_limit.map_or(0, quota),
        memory_limit_in_bytes: memory_limit.unwrap_or(0),
        oom_score_adj: oom_score(pod, container, capacity),
        // On v1 the sum of both is limited. No limit of memory is none of the sum, too.
        memory_swap_limit_in_bytes: memory_limit.filter(|_| capacity.swap && !capacity.unified).unwrap_or(0),
        unified: unified(capacity),
        ..Default::default()
    }
}

/// Upstream's defaults on v2: the processes of a container end together when its memory is out (`singleProcessOOMKill`),
/// and pods do not swap (`memorySwap.swapBehavior`).
fn unified(capacity: Capacity) -> HashMap<String, String> {
    [("memory.oom.group", "1", true), ("memory.swap.max", "0", capacity.swap)]
        .into_iter()
        .filter(|(_, _, possible)| capacity.unified && *possible)
        .map(|(file, value, _)| (file.to_owned(), value.to_owned()))
        .collect()
}

/// The sandbox shows the sum of its containers to the runtime.
pub(super) fn sandbox(pod: &Pod) -> api::LinuxContainerResources {
    let (cpu, memory) = (Total::of(pod.spec(), "cpu", milli), Total::of(pod.spec(), "memory", amount));
    api::LinuxContainerResources {
        cpu_shares: i64::try_from(shares(cpu.request)).unwrap_or(2),
        cpu_period: PERIOD,
        cpu_quota: cpu.limit.map_or(0, quota),
        memory_limit_in_bytes: memory.limit.unwrap_or(0),
        ..Default::default()
    }
}

/// Who is killed first when the node runs out of memory
/// (<https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior>).
fn oom_score(pod: &Pod, container: &Container, capacity: Capacity) -> i64 {
    if pod.spec().priority.is_some_and(|priority| priority >= 2_000_000_000) {
        return -997;
    }
    match pod.qos() {
        Qos::Guaranteed => return -997,
        Qos::BestEffort => return 1000,
        Qos::Burstable => {}
    }
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let request = amount(requests, "memory").unwrap_or(0);
    let share = request.saturating_mul(1000).checked_div(capacity.memory).unwrap_or(0);
    match 1000_i64.saturating_sub(share) {
        ..3 => 3,
        1000.. => 999,
        score => score,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use crate::pod::spec::pod_limits;
    use serde_json::json;

    fn of(resources: serde_json::Value) -> (Pod, api::LinuxContainerResources) {
        let pod = pod(json!({"containers": [{"name": "a", "resources": resources}]}));
        let made =
            container(&pod, &pod.spec().containers[0], Capacity { memory: 8 << 30, unified: false, swap: false });
        (pod, made)
    }

    #[test]
    fn classes_and_numbers() {
        let full = json!({"cpu": "500m", "memory": "1Gi"});
        for (resources, qos, cpu_shares, cpu_quota, memory, oom) in [
            (json!({}), Qos::BestEffort, 2, 0, 0, 1000),
            (json!({"limits": full}), Qos::Guaranteed, 512, 50_000, 1 << 30, -997),
            (json!({"requests": full}), Qos::Burstable, 512, 0, 0, 875),
            (json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}}), Qos::Burstable, 2, 1000, 0, 999),
        ] {
            let (pod, made) = of(resources.clone());
            assert_eq!(pod.qos(), qos, "{resources}");
            let numbers = (made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes, made.oom_score_adj);
            assert_eq!(numbers, (cpu_shares, cpu_quota, memory, oom), "{resources}");
        }
    }

    #[test]
    fn pods_do_not_swap_and_end_whole_when_their_memory_is_out() {
        let pod = pod(json!({"containers": [{"name": "a", "resources": {"limits": {"memory": "1Mi"}}}]}));
        let made = |unified, swap| {
            let made = container(&pod, &pod.spec().containers[0], Capacity { memory: 8 << 30, unified, swap });
            let mut files: Vec<String> = made.unified.iter().map(|(file, value)| format!("{file}={value}")).collect();
            files.sort();
            (made.memory_swap_limit_in_bytes, files.join(" "))
        };
        assert_eq!(made(false, false), (0, String::new()), "runc refuses what the kernel does not count");
        assert_eq!(made(false, true), (1 << 20, String::new()));
        assert_eq!(made(true, false), (0, "memory.oom.group=1".into()));
        assert_eq!(made(true, true), (0, "memory.oom.group=1 memory.swap.max=0".into()));
    }

    #[test]
    fn a_pod_has_the_sum_of_its_containers_or_the_peak_of_its_init_containers() {
        let resources = |cpu: &str| json!({"limits": {"cpu": cpu, "memory": "1Mi"}});
        let pod = pod(json!({
            "initContainers": [{"name": "i", "resources": resources("3")}],
            "containers": [{"name": "a", "resources": resources("1")}, {"name": "b", "resources": resources("1")}],
        }));
        let limits = pod_limits(pod.spec(), Some(7));
        assert_eq!((limits.cpu_shares, limits.cpu_quota), (Some(3072), Some(300_000)));
        assert_eq!((limits.memory, limits.pids), (Some(2 << 20), Some(7)));
    }
}
