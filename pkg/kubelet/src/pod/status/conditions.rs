//! `status.conditions`, with upstream's reasons and messages.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions>

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::phase::find;
use super::{Inputs, seconds};
use crate::pod::plan::usable;
use crate::pod::spec::{PodExt as _, Role, init_role};

/// The conditions that the kubelet sets.
const OURS: &[&str] = &["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Status, reason and message of a condition.
type Finding = (bool, &'static str, String);

const TRUE: Finding = (true, "", String::new());

pub(super) fn build(inputs: &Inputs<'_>, status: &PodStatus, phase: &str) -> Vec<PodCondition> {
    // As the API shows them: the pod that the watch has brought can be older than the answer to our last patch.
    let theirs = inputs.before.conditions.iter().flatten();
    let mut conditions: Vec<PodCondition> =
        theirs.filter(|condition| !OURS.contains(&condition.type_.as_str())).cloned().collect();
    let containers_ready = containers_ready(inputs, status, phase);
    let ready = ready(inputs, &conditions, containers_ready.clone());
    let sandbox = usable(inputs.pod, inputs.state).is_some();
    for (kind, finding) in [
        ("PodReadyToStartContainers", (sandbox, "", String::new())),
        ("Initialized", initialized(inputs, status, phase)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", TRUE),
    ] {
        conditions.push(condition(inputs, kind, finding));
    }
    conditions
}

/// A condition keeps the time of its last change of status.
fn condition(inputs: &Inputs<'_>, kind: &str, (holds, reason, message): Finding) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let before = inputs.before.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let unchanged = before.filter(|before| before.status == status);
    let since: Option<Time> = unchanged.and_then(|before| before.last_transition_time.clone());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: text(reason),
        message: text(&message),
        observed_generation: inputs.pod.metadata.generation,
        last_probe_time: None,
        last_transition_time: since.or_else(|| Some(seconds(inputs.now))),
    }
}

fn containers_ready(inputs: &Inputs<'_>, status: &PodStatus, phase: &str) -> Finding {
    match phase {
        "Succeeded" => return (false, "PodCompleted", String::new()),
        "Failed" => return (false, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = inputs.pod.init().iter().filter(|container| init_role(container) == Role::Sidecar);
    let sidecars = sidecars.map(|container| (container, status.init_container_statuses.as_deref()));
    let regular =
        inputs.pod.spec().containers.iter().map(|container| (container, status.container_statuses.as_deref()));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, statuses) in sidecars.chain(regular) {
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(found) if !found.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    lacking("ContainersNotReady", &[("unknown", unknown), ("unready", unready)])
}

/// `False` with upstream's sentence if anything is listed.
fn lacking(reason: &'static str, lists: &[(&str, Vec<&str>)]) -> Finding {
    let sentences: Vec<String> = lists
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("containers with {what} status: [{}]", names.join(" ")))
        .collect();
    if sentences.is_empty() { TRUE } else { (false, reason, sentences.join(", ")) }
}

fn ready(inputs: &Inputs<'_>, conditions: &[PodCondition], containers_ready: Finding) -> Finding {
    if !containers_ready.0 {
        return containers_ready;
    }
    let gates = inputs.pod.spec().readiness_gates.iter().flatten();
    let closed: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match conditions.iter().find(|condition| condition.type_ == *kind) {
                None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(found) if found.status != "True" => {
                    Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", found.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    if closed.is_empty() { TRUE } else { (false, "ReadinessGatesNotReady", closed.join(", ")) }
}

fn initialized(inputs: &Inputs<'_>, status: &PodStatus, phase: &str) -> Finding {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in inputs.pod.init() {
        let done = |status: &ContainerStatus| match init_role(container) {
            Role::Sidecar => status.started == Some(true),
            _ => status.ready,
        };
        match find(status.init_container_statuses.as_deref(), &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(found) if !done(found) => incomplete.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return (true, "PodCompleted", String::new());
    }
    let ran = status.container_statuses.iter().flatten().any(|container| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || container.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
    });
    if ran { TRUE } else { lacking("ContainersNotInitialized", &[("unknown", unknown), ("incomplete", incomplete)]) }
}
