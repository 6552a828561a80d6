//! Which containers to start and which to kill while the pod is meant to run.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Plan, Step, Waiting};
use crate::pod::crash::{CrashLoop, go};
use crate::pod::spec::{PodExt as _, Role, init_role, restarts_after};
use crate::pod::state::{Cause, Instance, Op, Sandbox, Stage, State, Stop, Volumes};

/// How long a fresh failure is shown as such before it is shown as a back-off.
const SHOWN: SignedDuration = SignedDuration::from_secs(2);

pub(super) fn plan(pod: &Pod, state: &State, sandbox: &Sandbox, now: Timestamp, plan: &mut Plan) {
    let context = Context { pod, state, sandbox, now };
    for part in pod.parts().iter().filter(|part| part.role == Role::Ephemeral) {
        if state.latest(part.name()).is_none() {
            context.start(part.name(), plan);
        }
    }
    let initialized = match context.init(plan) {
        Init::Done => true,
        Init::Going => false,
        Init::Failed => {
            finish(pod, now, plan);
            return;
        }
    };
    if initialized {
        let alive = pod.spec().containers.iter().filter(|container| context.regular(container, plan)).count();
        if alive == 0 {
            finish(pod, now, plan);
        }
    }
}

/// Whether every regular container has run and is not to run again.
pub(super) fn finished_for_good(pod: &Pod, state: &State) -> bool {
    pod.spec().containers.iter().all(|container| {
        state
            .latest(&container.name)
            .is_some_and(|last| last.stage == Stage::Exited && !restarts_after(container, pod, last.exit_code))
    }) || (pod.restart_policy() == "Never" && !state.instances.is_empty())
}

fn finish(pod: &Pod, now: Timestamp, plan: &mut Plan) {
    let grace = pod.spec().termination_grace_period_seconds.unwrap_or(30);
    plan.stop = Some(Stop { cause: Cause::Finished, since: now, grace });
    plan.steps.clear();
}

enum Init {
    Done,
    Going,
    Failed,
}

struct Context<'a> {
    pod: &'a Pod,
    state: &'a State,
    sandbox: &'a Sandbox,
    now: Timestamp,
}

impl Context<'_> {
    fn here(&self, name: &str) -> Option<&Instance> {
        self.state.latest_in(name, &self.sandbox.id)
    }

    /// Runs init containers one after the other; a sidecar lets the next one go once it has started.
    ///
    /// A regular container in this sandbox proves that all of them have been done, even if their own instances have been
    /// removed since.
    fn init(&self, plan: &mut Plan) -> Init {
        let before = self.pod.spec().containers.iter().any(|container| self.here(&container.name).is_some());
        let containers = self.pod.init();
        // Instances of early init containers may have been removed: what counts is the last one that was started.
        let reached = containers.iter().rposition(|container| self.here(&container.name).is_some());
        for (index, container) in containers.iter().enumerate() {
            let done = match init_role(container) {
                Role::Sidecar if before || reached.is_some_and(|last| index <= last) => {
                    self.sidecar(container, plan) || before || reached.is_some_and(|last| index < last)
                }
                _ if before || reached.is_some_and(|last| index < last) => true,
                _ => match self.here(&container.name) {
                    None => {
                        self.start(&container.name, plan);
                        false
                    }
                    Some(instance) => match instance.stage {
                        Stage::Running => false,
                        Stage::Exited if instance.exit_code == 0 => true,
                        Stage::Exited if !restarts_after_init(container, self.pod, instance.exit_code) => {
                            return Init::Failed;
                        }
                        _ => {
                            self.start(&container.name, plan);
                            false
                        }
                    },
                },
            };
            if !done {
                return Init::Going;
            }
        }
        Init::Done
    }

    /// Keeps a sidecar running; whether it has started.
    fn sidecar(&self, container: &Container, plan: &mut Plan) -> bool {
        let Some(instance) = self.here(&container.name) else {
            self.start(&container.name, plan);
            return false;
        };
        if instance.stage != Stage::Running {
            self.start(&container.name, plan);
            return false;
        }
        if let Some((message, grace)) = self.unwell(container, instance, "Init container") {
            self.kill(instance, grace, message, plan);
            return false;
        }
        container.startup_probe.is_none() || self.state.health(&instance.id).startup == Some(true)
    }

    /// Keeps a regular container as it should be; whether it runs or is to run.
    fn regular(&self, container: &Container, plan: &mut Plan) -> bool {
        let Some(instance) = self.here(&container.name) else {
            // One that has succeeded in a former sandbox has done its work.
            let former = self.state.latest(&container.name);
            let done = former.is_some_and(|former| {
                former.stage == Stage::Exited && !restarts_after(container, self.pod, former.exit_code)
            });
            if !done {
                self.start(&container.name, plan);
            }
            return !done;
        };
        match instance.stage {
            Stage::Running => {
                if let Some((message, grace)) = self.unwell(container, instance, "Container") {
                    self.kill(instance, grace, message, plan);
                }
                true
            }
            Stage::Exited if !restarts_after(container, self.pod, instance.exit_code) => false,
            Stage::Exited | Stage::Created | Stage::Unknown => {
                self.start(&container.name, plan);
                true
            }
        }
    }

    /// Why a running container must be killed, and with how many seconds of grace.
    fn unwell(&self, container: &Container, instance: &Instance, what: &str) -> Option<(String, i64)> {
        let name = &container.name;
        let health = self.state.health(&instance.id);
        let own = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
            probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds)
        };
        let usual = self.pod.spec().termination_grace_period_seconds.unwrap_or(30);
        let (message, grace) = if instance.hash != super::super::names::hash(container) {
            (format!("{what} {name} definition changed"), usual)
        } else if health.liveness == Some(false) {
            (format!("{what} {name} failed liveness probe"), own(&container.liveness_probe).unwrap_or(usual))
        } else if health.startup == Some(false) {
            (format!("{what} {name} failed startup probe"), own(&container.startup_probe).unwrap_or(usual))
        } else {
            return None;
        };
        let again = container.restart_policy.as_deref().unwrap_or_else(|| self.pod.restart_policy()) != "Never";
        Some((if again { format!("{message}, will be restarted") } else { message }, grace))
    }

    fn kill(&self, instance: &Instance, grace: i64, message: String, plan: &mut Plan) {
        let (id, name) = (instance.id.clone(), instance.name.clone());
        plan.step(self.state, self.now, Step::Kill { id, name, grace, message });
    }

    /// Starts a container as soon as its volumes are there and no back-off holds it.
    fn start(&self, name: &str, plan: &mut Plan) {
        let last = self.state.latest(name);
        if let Some(failure) = self.state.failures.get(name) {
            let (reason, message) = match &failure.then {
                Some((reason, message)) if self.now >= failure.since + SHOWN => (reason, message),
                Some(_) => {
                    plan.wake_at(failure.since + SHOWN);
                    (&failure.reason, &failure.message)
                }
                None => (&failure.reason, &failure.message),
            };
            plan.waiting.insert(name.into(), Waiting { reason: reason.clone(), message: message.clone() });
            if failure.retry > self.now {
                plan.wake_at(failure.retry);
                return;
            }
        }
        // The back-off for the end that comes next is known once a start has begun, and is not for the last end.
        let ended = last.filter(|last| last.stage == Stage::Exited && !self.state.busy(&Op::Start(name.into())));
        if let Some(finished) = ended.and_then(|last| last.finished_at) {
            let known = self.state.crashes.get(name);
            if let (Some(until), Some(known)) = (CrashLoop::until(known, finished), known)
                && until > self.now
            {
                let message = format!(
                    "back-off {} restarting failed container={name} pod={}",
                    go(known.delay),
                    self.pod.full_name()
                );
                plan.waiting.insert(name.into(), Waiting { reason: "CrashLoopBackOff".into(), message });
                plan.wake_at(until);
                return;
            }
        }
        if self.state.volumes == Volumes::Ready {
            let restarts = last.map_or(0, |last| last.restarts + 1);
            plan.step(self.state, self.now, Step::Start { name: name.into(), restarts });
        }
    }
}

/// As [`restarts_after`], but an init container's pod policy `Always` means that it is run until it succeeds.
fn restarts_after_init(container: &Container, pod: &Pod, code: i32) -> bool {
    code != 0 && restarts_after(container, pod, code)
}
