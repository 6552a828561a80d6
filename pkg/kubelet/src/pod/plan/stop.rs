//! The end of a pod: containers, sidecars in reverse order, sandboxes, volumes, and at last the API object.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::{Plan, Step};
use crate::pod::spec::{PodExt as _, Role};
use crate::pod::state::{Cause, Instance, Op, Stage, State, Stop};

/// Even a pod without any time left gets this many seconds between SIGTERM and SIGKILL.
const LEAST: i64 = 2;

pub(super) fn plan(pod: &Pod, state: &State, stop: &Stop, now: Timestamp, plan: &mut Plan) {
    if state.torn_down {
        after(pod, state, now, plan);
        return;
    }
    if kill_containers(pod, state, stop, now, plan) {
        return;
    }
    if state.any_busy(|op| matches!(op, Op::Start(_) | Op::Sandbox | Op::Kill(_))) {
        return;
    }
    let mut clean = true;
    for sandbox in state.sandboxes.iter().filter(|sandbox| !state.stopped.contains(&sandbox.id)) {
        clean = false;
        plan.step(state, now, Step::StopSandbox { id: sandbox.id.clone() });
    }
    if clean {
        plan.step(state, now, Step::Teardown);
    }
}

/// Nothing runs any more and nothing is mounted.
fn after(pod: &Pod, state: &State, now: Timestamp, plan: &mut Plan) {
    if state.gone {
        plan.step(state, now, Step::Remove);
    } else if pod.deleted() && state.reported && !state.deleted {
        plan.step(state, now, Step::Delete);
    }
}

/// Plans the next kills; whether something is still running.
fn kill_containers(pod: &Pod, state: &State, stop: &Stop, now: Timestamp, plan: &mut Plan) -> bool {
    let left = stop.grace - now.duration_since(stop.since).as_secs();
    let deadline = now + SignedDuration::from_secs(left.max(LEAST));
    let parts = pod.parts();
    let is_sidecar =
        |instance: &Instance| parts.iter().any(|part| part.role == Role::Sidecar && part.name() == instance.name);
    let running = || state.instances.iter().filter(|instance| instance.stage == Stage::Running);
    let mut any = false;
    for instance in running().filter(|instance| !is_sidecar(instance)) {
        any = true;
        kill(instance, state, stop, left, deadline, now, plan);
    }
    if any {
        return true;
    }
    // A sidecar ends after all that started after it.
    let last = parts
        .iter()
        .rev()
        .filter(|part| part.role == Role::Sidecar)
        .find_map(|part| running().find(|instance| instance.name == part.name()));
    let Some(last) = last else { return false };
    kill(last, state, stop, left, deadline, now, plan);
    true
}

fn kill(
    instance: &Instance,
    state: &State,
    stop: &Stop,
    left: i64,
    deadline: Timestamp,
    now: Timestamp,
    plan: &mut Plan,
) {
    let (id, name) = (instance.id.clone(), instance.name.clone());
    let message = format!("Stopping container {name}");
    let step = Step::Kill { id, name, grace: left.max(0), message };
    match state.kills.get(&instance.id) {
        // The pod's time has been cut since this kill began: a second, sooner one.
        Some(known) if stop.cause == Cause::Deleted && deadline + SignedDuration::from_secs(1) < *known => {
            plan.steps.push(step);
        }
        Some(_) if state.busy(&step.op()) => {}
        _ => plan.step(state, now, step),
    }
}
