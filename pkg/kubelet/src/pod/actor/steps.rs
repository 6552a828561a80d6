//! From a step of the plan to the task that does it.

use jiff::{SignedDuration, Timestamp};

use super::{Actor, Done};
use crate::pod::crash::CrashLoop;
use crate::pod::plan::Step;
use crate::pod::spec::{Part, PodExt as _};
use crate::pod::state::{Op, Stage};
use crate::pod::work::start::Start;
use crate::pod::work::{finish, kill, observe, sandbox, volumes};
use crate::probe::Target;

impl Actor {
    /// Starts a step; it counts as under way until it is [`Done`].
    pub(super) fn carry_out(&mut self, step: Step, now: Timestamp) {
        let op = step.op();
        self.state.busy.insert(op.clone());
        let (shared, pod, report) = (self.shared.clone(), self.pod.clone(), self.report.clone());
        let done = Some(op.clone());
        let handle = match step {
            Step::Refresh => self
                .work
                .spawn(async move { (done, Done::Refreshed(observe::pod(shared.runtime.as_ref(), pod.uid()).await)) }),
            Step::MountVolumes => {
                let (sources, tokens, turn) = (self.sources.clone(), self.tokens.clone(), self.turn.clone());
                self.work.spawn(async move {
                    (done, Done::Volumes(Box::new(volumes::set_up(&shared, &pod, &sources, tokens, &turn).await)))
                })
            }
            Step::CreateSandbox { attempt } => {
                if attempt > 0 && !self.state.retries.contains_key(&Op::Sandbox) {
                    report.normal("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
                }
                self.work.spawn(async move { (done, Done::Sandbox(sandbox::create(&shared, &pod, attempt).await)) })
            }
            Step::StopSandbox { id } => self.work.spawn(async move {
                let outcome = shared.runtime.stop_sandbox(&id).await;
                (done, Done::Stopped(id, outcome))
            }),
            Step::Start { name, restarts } => {
                let Some(start) = self.start(&name, restarts, now) else {
                    self.state.busy.remove(&op);
                    return;
                };
                self.work.spawn(async move { (done, Done::Started(name, restarts, start.run().await)) })
            }
            Step::Kill { id, name, grace, message } => {
                let report = report.container(&pod, &name);
                report.normal("Killing", &message);
                self.probes.forget(&id);
                self.state.kills.insert(id.clone(), now + SignedDuration::from_secs(grace.max(2)));
                let (target, sandbox) = (self.target(&id, &name), self.sandbox_of(&id));
                self.work.spawn(async move {
                    let outcome = kill::kill(&target, &report, grace).await;
                    let seen = observe::ended(shared.runtime.as_ref(), &id, &sandbox).await.ok();
                    (done, Done::Killed(outcome, seen))
                })
            }
            Step::Teardown => {
                let turn = self.turn.clone();
                self.work
                    .spawn(async move { (done, Done::TornDown(finish::tear_down(&shared, pod.uid(), &turn).await)) })
            }
            Step::Delete => self.work.spawn(async move { (done, Done::Deleted(finish::delete(&shared, &pod).await)) }),
            Step::Remove => self.work.spawn(async move { (done, Done::Removed(finish::remove(&shared, &pod).await)) }),
        };
        if matches!(op, Op::Start(_) | Op::Sandbox | Op::Volumes) {
            self.abortable.insert(op, handle);
        }
    }

    fn start(&mut self, name: &str, restarts: u32, now: Timestamp) -> Option<Start> {
        let part = self.pod.part(name)?;
        let sandbox = self.state.sandbox()?.clone();
        let target = part.target.and_then(|target| self.state.latest(target)).map(|target| target.id.clone());
        let container = part.into_container();
        if let Some(finished) =
            self.state.latest(name).filter(|last| last.stage == Stage::Exited).and_then(|last| last.finished_at)
        {
            let next = CrashLoop::next(self.state.crashes.get(name), finished, now);
            self.state.crashes.insert(name.to_owned(), next);
        }
        Some(Start {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            container,
            restarts,
            sandbox,
            mounted: self.mounted.clone(),
            turn: self.turn.clone(),
            sources: self.sources.clone(),
            target,
            report: self.report.container(&self.pod, name),
            events: self.events.0.clone(),
        })
    }

    fn target(&self, id: &str, name: &str) -> Target {
        let container = self.pod.part(name).map(Part::into_container).unwrap_or_default();
        let host = self.shared.host_ips.first();
        let own = self.state.sandboxes.first().and_then(|sandbox| sandbox.ips.first());
        let ip = if self.pod.host_network() { host } else { own };
        Target { runtime: self.shared.runtime.clone(), id: id.into(), container, ip: ip.cloned().unwrap_or_default() }
    }

    fn sandbox_of(&self, id: &str) -> String {
        let instance = self.state.instances.iter().find(|instance| instance.id == id);
        instance.map(|instance| instance.sandbox.clone()).unwrap_or_default()
    }
}
