//! `status.phase`, from the statuses of the containers.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase>

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};

use crate::pod::spec::{PodExt as _, Role, init_role, restarts_after};

/// How many containers are in which state.
#[derive(Debug, Default)]
struct Count {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    not_restartable: usize,
    succeeded: usize,
}

/// The phase of a pod; `ending` when none of its containers will be started again.
pub(super) fn of(pod: &Pod, status: &PodStatus, ending: bool) -> &'static str {
    let started = status.container_statuses.iter().flatten().any(|container| {
        let ran =
            |state: &k8s_openapi::api::core::v1::ContainerState| state.running.is_some() || state.terminated.is_some();
        container.state.as_ref().is_some_and(ran)
            || container.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
    });
    let Some(pending) = initialization(pod, status, started) else { return "Failed" };
    let mut count = Count::default();
    for container in &pod.spec().containers {
        count.add(pod, container, find(status.container_statuses.as_deref(), &container.name));
    }
    // While a sidecar runs, the pod does.
    for container in pod.init().iter().filter(|container| init_role(container) == Role::Sidecar) {
        let found = find(status.init_container_statuses.as_deref(), &container.name);
        let running = found.and_then(|found| found.state.as_ref()).is_some_and(|state| state.running.is_some());
        count.running += usize::from(running);
    }
    if pending || count.waiting > 0 {
        return "Pending";
    }
    if count.running > 0 && count.unknown == 0 {
        return "Running";
    }
    if count.stopped > 0 && count.unknown == 0 {
        return match () {
            // Nothing runs, and nothing will: the pod is over.
            () if ending || count.not_restartable == count.stopped => outcome(&count),
            () => "Running",
        };
    }
    "Pending"
}

/// The phase of a deleted pod of which nothing runs any more: one whose containers never ran has failed.
pub(super) fn at_end(pod: &Pod, status: &PodStatus) -> &'static str {
    let mut count = Count::default();
    for container in &pod.spec().containers {
        count.add(pod, container, find(status.container_statuses.as_deref(), &container.name));
    }
    if count.stopped == 0 || count.waiting + count.unknown > 0 { "Failed" } else { outcome(&count) }
}

fn outcome(count: &Count) -> &'static str {
    if count.stopped == count.succeeded { "Succeeded" } else { "Failed" }
}

/// Whether init containers are still to be waited for; `None` when one has failed for good.
fn initialization(pod: &Pod, status: &PodStatus, started: bool) -> Option<bool> {
    let mut pending = false;
    for container in pod.init() {
        let found = find(status.init_container_statuses.as_deref(), &container.name);
        let state = found.and_then(|found| found.state.as_ref());
        let last = found.and_then(|found| found.last_state.as_ref()).and_then(|last| last.terminated.as_ref());
        let ended = state.and_then(|state| state.terminated.as_ref());
        if init_role(container) == Role::Sidecar {
            let up = state.is_some_and(|state| state.running.is_some())
                && found.is_some_and(|found| found.started == Some(true));
            pending |= !started && !up && ended.is_none() && last.is_none();
            continue;
        }
        match ended.or(last.filter(|_| state.is_some_and(|state| state.waiting.is_some()))) {
            Some(end) if end.exit_code != 0 => {
                if !restarts_after(container, pod, end.exit_code) {
                    return None;
                }
                pending = true;
            }
            Some(_) => {}
            None => pending = true,
        }
    }
    Some(pending)
}

impl Count {
    fn add(&mut self, pod: &Pod, container: &Container, status: Option<&ContainerStatus>) {
        let state = status.and_then(|status| status.state.as_ref());
        let last = status.and_then(|status| status.last_state.as_ref()).and_then(|last| last.terminated.as_ref());
        let ended = state.and_then(|state| state.terminated.as_ref());
        if state.is_some_and(|state| state.running.is_some()) {
            self.running += 1;
        } else if let Some(end) = ended.or(last.filter(|_| state.is_some_and(|state| state.waiting.is_some()))) {
            self.stopped += 1;
            self.not_restartable += usize::from(!restarts_after(container, pod, end.exit_code));
            self.succeeded += usize::from(end.exit_code == 0 && ended.is_some());
        } else if state.is_some_and(|state| state.waiting.is_some()) {
            self.waiting += 1;
        } else {
            self.unknown += 1;
        }
    }
}

pub(super) fn find<'a>(statuses: Option<&'a [ContainerStatus]>, name: &str) -> Option<&'a ContainerStatus> {
    statuses?.iter().find(|status| status.name == name)
}
