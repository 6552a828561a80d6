//! What to do next for a pod: a pure function of its specification, its state and the clock.
//!
//! The actor calls [`plan`] after everything that happens and carries out the steps; each runs on its own and comes back
//! as a new state. A step that is under way or waits for its retry is not planned again, so planning is idempotent.
//!
//! Example: a pod of one container is new. The plan is `MountVolumes` and `CreateSandbox`, at the same time. When both
//! are done it is `Start`; when that is done it is empty until an event, a probe or the specification changes something.

mod containers;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::spec::PodExt as _;
use super::state::{Cause, Op, Sandbox, State, Stop};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the runtime what it has of this pod.
    Refresh,
    MountVolumes,
    CreateSandbox {
        attempt: u32,
    },
    /// Free the network of a sandbox, and kill what is left in it.
    StopSandbox {
        id: String,
    },
    /// Pull the image, create, start, run the postStart hook.
    Start {
        name: String,
        restarts: u32,
    },
    /// Run the preStop hook, then stop.
    Kill {
        id: String,
        name: String,
        grace: i64,
        message: String,
    },
    /// Unmount the volumes and remove the cgroup.
    Teardown,
    /// Tell the API that nothing is left of the pod.
    Delete,
    /// Remove sandboxes, containers, logs and directories.
    Remove,
}

impl Step {
    /// The name under which the step counts as under way.
    pub(crate) fn op(&self) -> Op {
        match self {
            Self::Refresh => Op::Refresh,
            Self::MountVolumes => Op::Volumes,
            Self::CreateSandbox { .. } => Op::Sandbox,
            Self::StopSandbox { id } => Op::StopSandbox(id.clone()),
            Self::Start { name, .. } => Op::Start(name.clone()),
            Self::Kill { id, .. } => Op::Kill(id.clone()),
            Self::Teardown => Op::Teardown,
            Self::Delete => Op::Delete,
            Self::Remove => Op::Remove,
        }
    }
}

/// What `status` says of a container that is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The outcome of planning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// By container name.
    pub(crate) waiting: BTreeMap<String, Waiting>,
    /// When to plan again even if nothing happens.
    pub(crate) wake: Option<Timestamp>,
    /// The pod is to end, or sooner than was known. Record it and plan again.
    pub(crate) stop: Option<Stop>,
}

impl Plan {
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |known| known.min(time)));
    }

    /// Adds a step unless it is under way, or waits for its next attempt.
    fn step(&mut self, state: &State, now: Timestamp, step: Step) {
        let op = step.op();
        if state.busy(&op) {
            return;
        }
        match state.retries.get(&op) {
            Some((_, at)) if *at > now => self.wake_at(*at),
            _ => self.steps.push(step),
        }
    }

    fn stop(stop: Stop) -> Self {
        Self { stop: Some(stop), ..Self::default() }
    }
}

/// Plans for one pod.
pub(crate) fn plan(pod: &Pod, state: &State, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if state.removed {
        return plan;
    }
    if state.stale {
        plan.step(state, now, Step::Refresh);
        return plan;
    }
    if let Some(stop) = ends(pod, state, now) {
        return Plan::stop(stop);
    }
    if let Some(stop) = &state.stop {
        stop::plan(pod, state, stop, now, &mut plan);
        return plan;
    }
    if let Some(deadline) = active_deadline(pod, state) {
        plan.wake_at(deadline);
    }
    if state.volumes == super::state::Volumes::Absent {
        plan.step(state, now, Step::MountVolumes);
    }
    let Some(sandbox) = usable(pod, state) else {
        renew_sandbox(pod, state, now, &mut plan);
        return plan;
    };
    containers::plan(pod, state, sandbox, now, &mut plan);
    plan
}

/// Whether the pod is to end although nobody has said so yet, or sooner than was said.
fn ends(pod: &Pod, state: &State, now: Timestamp) -> Option<Stop> {
    if pod.deleted() || state.gone {
        let spec = pod.spec().termination_grace_period_seconds.unwrap_or(30);
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(spec);
        let known = state.stop.as_ref().filter(|stop| stop.cause == Cause::Deleted);
        let sooner = known.is_none_or(|stop| grace < stop.grace);
        // A pod that has ended for another reason need not end again.
        let over = state.torn_down && state.stop.as_ref().is_some_and(|stop| stop.cause != Cause::Deleted);
        return (sooner && !over).then_some(Stop { cause: Cause::Deleted, since: now, grace });
    }
    if state.stop.is_some() {
        return None;
    }
    let grace = pod.spec().termination_grace_period_seconds.unwrap_or(30);
    if pod.terminal() {
        return Some(Stop { cause: Cause::Finished, since: now, grace });
    }
    let late = active_deadline(pod, state).is_some_and(|deadline| deadline <= now);
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    let cause = Cause::Failed { reason: "DeadlineExceeded".into(), message };
    late.then_some(Stop { cause, since: now, grace })
}

fn active_deadline(pod: &Pod, state: &State) -> Option<Timestamp> {
    let seconds = pod.spec().active_deadline_seconds?;
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    Some(start.or(state.seen_at)? + SignedDuration::from_secs(seconds))
}

/// The newest sandbox, if containers can run in it.
pub(crate) fn usable<'a>(pod: &Pod, state: &'a State) -> Option<&'a Sandbox> {
    let alone = state.sandboxes.iter().filter(|sandbox| sandbox.ready).count() == 1;
    state.sandbox().filter(|sandbox| alone && (pod.host_network() || !sandbox.ips.is_empty()))
}

/// Ends what is left of former sandboxes, then makes a new one, unless the pod has done its work.
fn renew_sandbox(pod: &Pod, state: &State, now: Timestamp, plan: &mut Plan) {
    let newest = state.sandboxes.first();
    if newest.is_some() && containers::finished_for_good(pod, state) {
        let grace = pod.spec().termination_grace_period_seconds.unwrap_or(30);
        plan.stop = Some(Stop { cause: Cause::Finished, since: now, grace });
        return;
    }
    let mut clean = true;
    for instance in state.instances.iter().filter(|instance| instance.stage == super::state::Stage::Running) {
        clean = false;
        let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
        let grace = pod.spec().termination_grace_period_seconds.unwrap_or(30);
        let (id, name) = (instance.id.clone(), instance.name.clone());
        plan.step(state, now, Step::Kill { id, name, grace, message });
    }
    if !clean {
        return;
    }
    for sandbox in state.sandboxes.iter().filter(|sandbox| !state.stopped.contains(&sandbox.id)) {
        clean = false;
        plan.step(state, now, Step::StopSandbox { id: sandbox.id.clone() });
    }
    if clean {
        plan.step(state, now, Step::CreateSandbox { attempt: newest.map_or(0, |sandbox| sandbox.attempt + 1) });
    }
}
