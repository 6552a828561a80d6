//! The status that the API shows of a pod: a pure function of its specification, its state, and what was shown before.

mod conditions;
mod containers;
mod phase;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Waiting, usable};
use super::spec::{PodExt as _, Role};
use super::state::{Cause, Stage, State};

/// What the status depends on beside the pod itself.
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) state: &'a State,
    pub(crate) waiting: &'a BTreeMap<String, Waiting>,
    /// The node's addresses, the primary first.
    pub(crate) host_ips: &'a [String],
    /// The status that was reported last, or the API's after a restart.
    pub(crate) before: &'a PodStatus,
    pub(crate) now: Timestamp,
}

/// The pod's status.
pub(crate) fn build(inputs: &Inputs<'_>) -> PodStatus {
    let Inputs { pod, state, before, .. } = *inputs;
    let mut status = PodStatus {
        qos_class: before.qos_class.clone().or_else(|| Some(pod.qos().as_str().to_owned())),
        observed_generation: pod.metadata.generation,
        start_time: before.start_time.clone().or_else(|| state.seen_at.map(seconds)),
        resource_claim_statuses: before.resource_claim_statuses.clone(),
        nominated_node_name: before.nominated_node_name.clone(),
        ..PodStatus::default()
    };
    addresses(inputs, &mut status);
    if refused(state) {
        // Rejected before anything of it existed: upstream shows no container of such a pod.
        refuse(inputs, &mut status);
        return status;
    }
    status.init_container_statuses = some(containers::build(inputs, &[Role::Init, Role::Sidecar]));
    status.container_statuses = some(containers::build(inputs, &[Role::Regular]));
    status.ephemeral_container_statuses = some(containers::build(inputs, &[Role::Ephemeral]));
    let phase = final_phase(inputs, &status);
    if before.phase.as_deref() == Some(phase) {
        status.reason = before.reason.clone();
        status.message = before.message.clone();
    }
    if let Some(Cause::Failed { reason, message }) = state.stop.as_ref().map(|stop| &stop.cause) {
        status.reason = Some(reason.clone());
        status.message = Some(message.clone());
    }
    status.phase = Some(phase.to_owned());
    status.conditions = some(conditions::build(inputs, &status, phase));
    status
}

/// A time as the API stores it: whole seconds.
pub(crate) fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn refused(state: &State) -> bool {
    matches!(state.stop.as_ref().map(|stop| &stop.cause), Some(Cause::Failed { .. }))
        && state.instances.is_empty()
        && state.sandboxes.is_empty()
}

fn refuse(inputs: &Inputs<'_>, status: &mut PodStatus) {
    if let Some(Cause::Failed { reason, message }) = inputs.state.stop.as_ref().map(|stop| &stop.cause) {
        status.reason = Some(reason.clone());
        status.message = Some(message.clone());
    }
    status.phase = Some("Failed".to_owned());
    status.conditions = inputs.before.conditions.clone();
}

/// The phase, which never leaves `Succeeded` or `Failed`.
fn final_phase(inputs: &Inputs<'_>, status: &PodStatus) -> &'static str {
    let shown = [inputs.before.phase.as_deref(), inputs.pod.status.as_ref().and_then(|status| status.phase.as_deref())];
    for (name, phase) in [("Failed", "Failed"), ("Succeeded", "Succeeded")] {
        if shown.contains(&Some(name)) {
            return phase;
        }
    }
    let over = inputs.state.instances.iter().all(|instance| instance.stage != Stage::Running);
    match inputs.state.stop.as_ref().map(|stop| &stop.cause) {
        Some(Cause::Failed { .. }) => return "Failed",
        // A pod that was stopped before its containers ever ran has not succeeded.
        Some(Cause::Deleted) if inputs.state.torn_down && over => return phase::at_end(inputs.pod, status),
        _ => {}
    }
    phase::of(inputs.pod, status, inputs.state.stop.is_some())
}

fn addresses(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let Inputs { pod, state, host_ips, before, .. } = inputs;
    status.host_ip = host_ips.first().cloned();
    status.host_ips = some(host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let own: Vec<String> = match usable(pod, state) {
        Some(_) if pod.host_network() => host_ips.to_vec(),
        Some(sandbox) => sandbox.ips.clone(),
        // A pod that has ended keeps its addresses in the status, as upstream.
        None => before.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    };
    status.pod_ip = own.first().cloned();
    status.pod_ips = some(own.into_iter().map(|ip| PodIP { ip }).collect());
}
