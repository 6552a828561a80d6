//! From the outcome of a step to the state.

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinError;

use super::{Actor, Done};
use crate::cri::Error;
use crate::pod::spec::PodExt as _;
use crate::pod::state::{Failure, Instance, Op, Sandbox, Volumes};

impl Actor {
    /// Takes in what has become of a step.
    pub(super) fn finish(&mut self, joined: Result<(Option<Op>, Done), JoinError>) {
        let (op, done) = match joined {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => {
                // What was given up is no longer under way; the refresh that follows finds what it left.
                self.state.busy.retain(|op| !matches!(op, Op::Start(_) | Op::Sandbox | Op::Volumes));
                return;
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Some(op) = &op {
            self.state.busy.remove(op);
            self.abortable.remove(op);
        }
        match done {
            Done::Refreshed(outcome) => {
                if let Some((sandboxes, instances)) = self.settle(Op::Refresh, outcome) {
                    self.refreshed(sandboxes, instances);
                }
            }
            Done::Volumes(outcome) => match *outcome {
                Ok((mounted, tokens)) => {
                    self.state.retries.remove(&Op::Volumes);
                    (self.mounted, self.tokens, self.state.volumes) = (mounted, tokens, Volumes::Ready);
                }
                Err(failed) => {
                    self.report.warning("FailedMount", &failed.to_string());
                    self.retry(Op::Volumes);
                }
            },
            Done::Sandbox(Ok(sandbox)) => {
                self.state.retries.remove(&Op::Sandbox);
                self.state.made(sandbox);
            }
            Done::Sandbox(Err(message)) => {
                self.report.warning("FailedCreatePodSandBox", &message);
                self.retry(Op::Sandbox);
            }
            Done::Stopped(id, outcome) => {
                let outcome = absent_is_fine(outcome);
                if self.settle(Op::StopSandbox(id.clone()), outcome).is_some() {
                    for sandbox in self.state.sandboxes.iter_mut().filter(|sandbox| sandbox.id == id) {
                        sandbox.ready = false;
                    }
                    self.state.stopped.insert(id);
                }
            }
            Done::Started(name, restarts, outcome) => self.started(name, restarts, outcome),
            Done::Killed(outcome, seen) => {
                let op = op.unwrap_or(Op::Refresh);
                self.settle(op, outcome);
                match seen {
                    Some(instance) => self.state.see(instance),
                    None => self.state.stale = true,
                }
            }
            Done::Ended(Ok(instance)) => self.state.see(instance),
            Done::Ended(Err(_)) => self.state.stale = true,
            Done::TornDown(outcome) => self.state.torn_down = self.settle(Op::Teardown, outcome).is_some(),
            Done::Deleted(outcome) => self.state.deleted = self.settle(Op::Delete, outcome).is_some(),
            Done::Removed(outcome) => self.state.removed = self.settle(Op::Remove, outcome).is_some(),
            Done::Patched(patched) => self.publisher.done(&self.pod, patched, Timestamp::now()),
        }
    }

    /// The start has told of its container before it ended; without that only the runtime knows what there is.
    fn started(&mut self, name: String, restarts: u32, outcome: Result<(), Failure>) {
        while let Ok(event) = self.events.1.try_recv() {
            self.notice(event);
        }
        let seen = self.state.latest(&name).is_some_and(|instance| instance.restarts == restarts);
        self.state.stale |= !seen;
        match outcome {
            Ok(()) => drop(self.state.failures.remove(&name)),
            Err(failure) => drop(self.state.failures.insert(name, failure)),
        }
    }

    /// The value, or a retry.
    fn settle<T, E: std::fmt::Display>(&mut self, op: Op, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.state.retries.remove(&op);
                Some(value)
            }
            Err(error) => {
                tracing::warn!("{}: {op:?}: {error}", self.pod.full_name());
                self.retry(op);
                None
            }
        }
    }

    /// Half a second, doubled up to two minutes for volumes, as upstream, and to ten seconds for what the runtime does.
    fn retry(&mut self, op: Op) {
        let most = SignedDuration::from_secs(if op == Op::Volumes { 122 } else { 10 });
        let failures = self.state.retries.get(&op).map_or(1, |(failures, _)| failures + 1);
        let delay = SignedDuration::from_millis(250).saturating_mul(2_i32.saturating_pow(failures.min(9)));
        self.state.retries.insert(op, (failures, Timestamp::now() + delay.min(most)));
    }

    fn refreshed(&mut self, sandboxes: Vec<Sandbox>, instances: Vec<Instance>) {
        let ids = sandboxes.iter().map(|sandbox| &sandbox.id).chain(instances.iter().map(|instance| &instance.id));
        if self.state.any_busy(|op| matches!(op, Op::Start(_) | Op::Sandbox)) {
            ids.for_each(|id| self.shared.owners.add(id, self.pod.uid()));
        } else {
            self.shared.owners.set(ids, self.pod.uid());
        }
        self.state.refresh(sandboxes, instances);
    }
}

fn absent_is_fine(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.not_found() => Ok(()),
        outcome => outcome,
    }
}
