//! One pod's actor: it owns the pod's state, plans after everything that happens, and carries out the steps.
//!
//! A step runs as a task of its own and comes back as [`Done`]; nothing that takes time is ever awaited here, so that a
//! deletion is heard during a pull, and an exit during a hook.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::Report;
use super::plan::{Plan, Step, Waiting, plan};
use super::probes::Probes;
use super::publish::{Patched, patch};
use super::shared::Shared;
use super::spec::PodExt as _;
use super::state::{Cause, Failure, Instance, Op, Sandbox, Stage, State, Stop, Volumes};
use super::status::{self, Inputs};
use super::work::start::Start;
use super::work::volumes::Sources;
use super::work::{finish, kill, observe, sandbox, volumes};
use crate::cri::Error;
use crate::probe::{Target, Verdict};
use crate::volume::token::Tokens;
use crate::volume::{Failed, Mounted};

/// What an actor is told from outside.
#[derive(Debug)]
pub(crate) enum Message {
    /// The pod's specification or metadata has changed.
    Pod(Arc<Pod>),
    /// The API has no such pod any more.
    Gone,
    /// A container or sandbox has ended.
    Exit(String),
    /// The runtime may have changed without an event.
    Refresh,
}

/// What happens inside.
#[derive(Debug)]
pub(crate) enum Event {
    /// A container as the runtime has it now.
    Seen(Box<Instance>),
    Verdict(Verdict),
    /// A ConfigMap or Secret has changed.
    Sources,
}

/// The outcome of a step.
#[derive(Debug)]
enum Done {
    Refreshed(Result<(Vec<Sandbox>, Vec<Instance>), Error>),
    Volumes(Box<Result<(Mounted, Tokens), Failed>>),
    Sandbox(Result<Sandbox, String>),
    Stopped(String, Result<(), Error>),
    Started(String, Result<(), Failure>),
    Killed(Result<(), Error>, Option<Instance>),
    Ended(Result<Instance, Error>),
    TornDown(std::io::Result<()>),
    Deleted(Result<(), kube::Error>),
    Removed(Result<(), Error>),
    Patched(Patched),
}

/// The actor.
pub(crate) struct Actor {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    state: State,
    inbox: mpsc::UnboundedReceiver<Message>,
    events: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    work: JoinSet<(Option<Op>, Done)>,
    /// What can be given up when the pod is to end.
    abortable: HashMap<Op, AbortHandle>,
    report: Report,
    sources: Sources,
    watcher: Option<AbortOnDropHandle<()>>,
    mounted: Mounted,
    tokens: Tokens,
    probes: Probes,
    /// What the API shows, as far as we know.
    published: PodStatus,
    patching: bool,
    /// A failed patch is repeated then.
    patch_again: Option<Timestamp>,
    patch_failures: u32,
    waiting: std::collections::BTreeMap<String, Waiting>,
}

impl Actor {
    /// An actor for `pod`, of which the runtime has what `state` says.
    pub(crate) fn new(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        mut state: State,
        inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        let report = Report::of(&shared.recorder, &pod);
        let published = pod.status.clone().unwrap_or_default();
        state.seen_at = Some(Timestamp::now());
        state.sort();
        let probes = Probes::adopt(&pod, &published, &mut state);
        let mut actor = Self {
            shared,
            pod,
            state,
            inbox,
            events: mpsc::unbounded_channel(),
            work: JoinSet::new(),
            abortable: HashMap::new(),
            report,
            sources: Sources::default(),
            watcher: None,
            mounted: Mounted::new(),
            tokens: Tokens::default(),
            probes,
            published,
            patching: false,
            patch_again: None,
            patch_failures: 0,
            waiting: std::collections::BTreeMap::new(),
        };
        actor.follow();
        actor
    }

    /// Runs until nothing of the pod is left.
    pub(crate) async fn run(mut self) {
        loop {
            let wake = self.advance();
            if self.state.removed {
                return;
            }
            let sleep = wake.map_or(SignedDuration::from_hours(1), |at| at.duration_since(Timestamp::now()));
            let sleep = std::time::Duration::try_from(sleep).unwrap_or_default();
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.hear(message),
                    // The kubelet is ending; the pod is not.
                    None => return,
                },
                Some(event) = self.events.1.recv() => self.notice(event),
                Some(done) = self.work.join_next() => self.finish(done),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Plans, carries out, reports; returns when to do so again.
    fn advance(&mut self) -> Option<Timestamp> {
        let now = Timestamp::now();
        let mut next = plan(&self.pod, &self.state, now);
        while let Some(stop) = next.stop.take() {
            self.stop(stop);
            next = plan(&self.pod, &self.state, now);
        }
        self.announce(&next);
        let Plan { steps, waiting, wake, .. } = next;
        self.waiting = waiting;
        for step in steps {
            self.carry_out(step, now);
        }
        if self.state.stop.is_none() {
            self.probes.follow(&self.shared, &self.pod, &self.state, &self.report, &self.events.0);
        }
        self.publish(now);
        let due = self.tokens.due().filter(|_| self.state.stop.is_none());
        if due.is_some_and(|due| due <= now) {
            self.update_volumes();
        }
        [wake, due.filter(|due| *due > now), self.patch_again].into_iter().flatten().min()
    }

    fn stop(&mut self, stop: Stop) {
        if self.state.stop.is_none() {
            self.probes.clear();
            for (_, handle) in self.abortable.drain() {
                handle.abort();
                self.state.stale = true;
            }
        }
        if let Cause::Failed { reason, message } = &stop.cause {
            self.report.normal(reason, message);
        }
        self.state.stop = Some(stop);
    }

    /// A back-off that begins is an event.
    fn announce(&self, next: &Plan) {
        for (name, waiting) in &next.waiting {
            let begins = self.waiting.get(name).is_none_or(|before| before.reason != waiting.reason);
            let report = self.report.container(&self.pod, name);
            match waiting.reason.as_str() {
                "CrashLoopBackOff" if begins => {
                    let pod = self.pod.full_name();
                    report.warning("BackOff", &format!("Back-off restarting failed container {name} in pod {pod}"));
                }
                "ImagePullBackOff" if begins => {
                    let image = self.pod.part(name).and_then(|part| part.container.image.clone()).unwrap_or_default();
                    report.normal("BackOff", &format!("Back-off pulling image {image:?}"));
                    report.warning("Failed", "Error: ImagePullBackOff");
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Pod(pod) => {
                let changed = pod.spec != self.pod.spec;
                let relabelled = pod.metadata.labels != self.pod.metadata.labels
                    || pod.metadata.annotations != self.pod.metadata.annotations;
                self.pod = pod;
                if changed {
                    self.follow();
                }
                if (relabelled || changed) && self.state.volumes == Volumes::Ready && self.state.stop.is_none() {
                    self.update_volumes();
                }
            }
            Message::Gone => self.state.gone = true,
            Message::Exit(id) => self.exited(id),
            Message::Refresh => self.state.stale = true,
        }
    }

    /// A container that we have not seen yet has just been started, in the sandbox of now.
    fn exited(&mut self, id: String) {
        if let Some(sandbox) = self.state.sandboxes.iter_mut().find(|sandbox| sandbox.id == id) {
            // The runtime's own books may call it ready for some milliseconds more.
            sandbox.ready = false;
            self.state.dead.insert(id);
            return;
        }
        let known = self.state.instances.iter().find(|instance| instance.id == id).map(|instance| &instance.sandbox);
        let now = self.state.sandbox().map(|sandbox| &sandbox.id);
        let Some(sandbox) = known.or(now).cloned() else { return };
        let shared = self.shared.clone();
        self.work
            .spawn(async move { (None, Done::Ended(observe::ended(shared.runtime.as_ref(), &id, &sandbox).await)) });
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::Seen(instance) => self.see(*instance),
            Event::Verdict(verdict) => self.probes.judge(verdict, &mut self.state),
            Event::Sources => {
                self.state.retries.remove(&Op::Volumes);
                for failure in self.state.failures.values_mut() {
                    if failure.reason == "CreateContainerConfigError" {
                        failure.retry = Timestamp::now();
                    }
                }
                if self.state.volumes == Volumes::Ready && self.state.stop.is_none() {
                    self.update_volumes();
                }
            }
        }
    }

    /// Takes what was seen of a container; an end that is known already is not undone by an older look.
    fn see(&mut self, instance: Instance) {
        match self.state.instance_mut(&instance.id) {
            Some(known) if known.stage == Stage::Exited => {}
            Some(known) => *known = instance,
            None => self.state.instances.push(instance),
        }
        self.state.sort();
    }

    /// Follows what the pod refers to, and is told of changes.
    fn follow(&mut self) {
        let (maps, secrets) = crate::volume::references(&self.pod);
        self.sources.config_maps.set(&self.shared.config_maps, self.pod.namespace(), maps);
        self.sources.secrets.set(&self.shared.secrets, self.pod.namespace(), secrets);
        let (sources, events) = (self.sources.clone(), self.events.0.clone());
        self.watcher = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sources.config_maps.changed() => {}
                    () = sources.secrets.changed() => {}
                }
                if events.send(Event::Sources).is_err() {
                    return;
                }
            }
        })));
    }

    fn update_volumes(&mut self) {
        if !self.state.busy(&Op::Volumes) {
            self.carry_out(Step::MountVolumes, Timestamp::now());
        }
    }

    fn carry_out(&mut self, step: Step, now: Timestamp) {
        let op = step.op();
        self.state.busy.insert(op.clone());
        let (shared, pod, report) = (self.shared.clone(), self.pod.clone(), self.report.clone());
        let done = Some(op.clone());
        let handle = match step {
            Step::Refresh => self
                .work
                .spawn(async move { (done, Done::Refreshed(observe::pod(shared.runtime.as_ref(), pod.uid()).await)) }),
            Step::MountVolumes => {
                let (sources, tokens) = (self.sources.clone(), self.tokens.clone());
                self.work.spawn(async move {
                    (done, Done::Volumes(Box::new(volumes::set_up(&shared, &pod, &sources, tokens).await)))
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
                self.work.spawn(async move { (done, Done::Started(name, start.run().await)) })
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
                self.work.spawn(async move { (done, Done::TornDown(finish::tear_down(&shared, pod.uid()).await)) })
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
            let next = super::crash::CrashLoop::next(self.state.crashes.get(name), finished, now);
            self.state.crashes.insert(name.to_owned(), next);
        }
        Some(Start {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            container,
            restarts,
            sandbox,
            mounted: self.mounted.clone(),
            sources: self.sources.clone(),
            target,
            report: self.report.container(&self.pod, name),
            events: self.events.0.clone(),
        })
    }

    fn target(&self, id: &str, name: &str) -> Target {
        let container = self.pod.part(name).map(super::spec::Part::into_container).unwrap_or_default();
        let host = self.shared.host_ips.first();
        let own = self.state.sandboxes.first().and_then(|sandbox| sandbox.ips.first());
        let ip = if self.pod.host_network() { host } else { own };
        Target { runtime: self.shared.runtime.clone(), id: id.into(), container, ip: ip.cloned().unwrap_or_default() }
    }

    fn sandbox_of(&self, id: &str) -> String {
        let instance = self.state.instances.iter().find(|instance| instance.id == id);
        instance.map(|instance| instance.sandbox.clone()).unwrap_or_default()
    }

    fn finish(&mut self, joined: Result<(Option<Op>, Done), tokio::task::JoinError>) {
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
                self.state.sandboxes.push(sandbox);
                self.state.sort();
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
            Done::Started(name, Ok(())) => drop(self.state.failures.remove(&name)),
            Done::Started(name, Err(failure)) => drop(self.state.failures.insert(name, failure)),
            Done::Killed(outcome, seen) => {
                let op = op.unwrap_or(Op::Refresh);
                self.settle(op, outcome);
                match seen {
                    Some(instance) => self.see(instance),
                    None => self.state.stale = true,
                }
            }
            Done::Ended(Ok(instance)) => self.see(instance),
            Done::Ended(Err(_)) => self.state.stale = true,
            Done::TornDown(outcome) => self.state.torn_down = self.settle(Op::Teardown, outcome).is_some(),
            Done::Deleted(outcome) => self.state.deleted = self.settle(Op::Delete, outcome).is_some(),
            Done::Removed(outcome) => self.state.removed = self.settle(Op::Remove, outcome).is_some(),
            Done::Patched(patched) => self.patched(patched),
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

    /// Half a second, doubled up to two minutes.
    fn retry(&mut self, op: Op) {
        let failures = self.state.retries.get(&op).map_or(1, |(failures, _)| failures + 1);
        let delay = SignedDuration::from_millis(250).saturating_mul(2_i32.saturating_pow(failures.min(9)));
        self.state.retries.insert(op, (failures, Timestamp::now() + delay.min(SignedDuration::from_secs(122))));
    }

    fn refreshed(&mut self, sandboxes: Vec<Sandbox>, instances: Vec<Instance>) {
        self.state.stale = false;
        for id in sandboxes.iter().map(|sandbox| &sandbox.id).chain(instances.iter().map(|instance| &instance.id)) {
            self.shared.owners.add(id, self.pod.uid());
        }
        self.state.sandboxes = sandboxes;
        for sandbox in &mut self.state.sandboxes {
            sandbox.ready &= !self.state.dead.contains(&sandbox.id) && !self.state.stopped.contains(&sandbox.id);
        }
        self.state.instances = instances;
        self.state.sort();
    }

    /// Sends the status if it differs from what the API shows. One patch at a time: what changes meanwhile goes with the
    /// next one.
    fn publish(&mut self, now: Timestamp) {
        if self.state.gone || self.patching || self.patch_again.is_some_and(|at| at > now) {
            return;
        }
        let inputs = Inputs {
            pod: &self.pod,
            state: &self.state,
            waiting: &self.waiting,
            host_ips: &self.shared.host_ips,
            before: &self.published,
            now,
        };
        let status = status::build(&inputs);
        self.state.reported = status == self.published;
        if self.state.reported {
            if self.pod.deleted() && self.state.torn_down && !self.state.deleted {
                self.after_report(now);
            }
            return;
        }
        self.patching = true;
        let (client, pod) = (self.shared.client.clone(), self.pod.clone());
        let before = self.published.clone();
        self.work.spawn(async move { (None, Done::Patched(patch(client, &pod, before, status).await)) });
    }

    /// The last status is in the API: what waited for that can go on at once.
    fn after_report(&mut self, now: Timestamp) {
        for step in plan(&self.pod, &self.state, now).steps {
            self.carry_out(step, now);
        }
    }

    fn patched(&mut self, patched: Patched) {
        self.patching = false;
        self.patch_again = None;
        match patched {
            Patched::Now(status) => {
                self.patch_failures = 0;
                self.published = *status;
            }
            Patched::Gone => self.state.gone = true,
            Patched::Failed(error) => {
                tracing::warn!("{}: cannot update the status: {error}", self.pod.full_name());
                self.patch_failures = self.patch_failures.saturating_add(1).min(6);
                let delay = SignedDuration::from_millis(100).saturating_mul(2_i32.pow(self.patch_failures));
                self.patch_again = Some(Timestamp::now() + delay);
            }
        }
    }
}

fn absent_is_fine(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.not_found() => Ok(()),
        outcome => outcome,
    }
}
