//! One pod's actor: it owns the pod's state, plans after everything that happens, and carries out the steps.
//!
//! A step runs as a task of its own and comes back as [`Done`]; nothing that takes time is ever awaited here, so that a
//! deletion is heard during a pull, and an exit during a hook.

mod outcomes;
mod steps;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::cri::Error;
use crate::pod::Report;
use crate::pod::plan::{Plan, Step, Waiting, plan};
use crate::pod::probes::Probes;
use crate::pod::publish::{Patched, Publisher, patch};
use crate::pod::shared::Shared;
use crate::pod::spec::PodExt as _;
use crate::pod::state::{Cause, Failure, Instance, Op, Sandbox, State, Stop, Volumes};
use crate::pod::status::{self, Inputs};
use crate::pod::work::volumes::Sources;
use crate::pod::work::{Turn, observe};
use crate::probe::Verdict;
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
    /// Name and restart count.
    Started(String, u32, Result<(), Failure>),
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
    turn: Turn,
    tokens: Tokens,
    probes: Probes,
    publisher: Publisher,
    waiting: BTreeMap<String, Waiting>,
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
        let publisher = Publisher::new(&pod);
        state.seen_at = Some(Timestamp::now());
        state.sort();
        let probes = Probes::adopt(&pod, publisher.shown(), &mut state);
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
            turn: Turn::default(),
            tokens: Tokens::default(),
            probes,
            publisher,
            waiting: BTreeMap::new(),
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
        if self.publish(now) {
            // The last status is in the API: what waited for that goes on at once.
            return self.advance();
        }
        let due = self.tokens.due().filter(|_| self.state.stop.is_none());
        if due.is_some_and(|due| due <= now) {
            self.update_volumes();
        }
        [wake, due.filter(|due| *due > now), self.publisher.retry()].into_iter().flatten().min()
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
                self.publisher.heard(&pod);
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
            Event::Seen(instance) => self.state.see(*instance),
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

    /// Follows what the pod refers to, and is told of changes.
    fn follow(&mut self) {
        let (maps, secrets) = crate::volume::references(&self.pod);
        self.sources.config_maps.set(&self.shared.config_maps, self.pod.namespace(), maps);
        self.sources.secrets.set(&self.shared.secrets, self.pod.namespace(), secrets);
        let (config_maps, secrets) = (self.sources.config_maps.changes(), self.sources.secrets.changes());
        let events = self.events.0.clone();
        self.watcher = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut changes = futures::stream::select(config_maps, secrets);
            while changes.next().await.is_some() {
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

    /// Sends the status if it differs from what the API shows. One patch at a time: what changes meanwhile goes with the
    /// next one. Whether the API has just come to show the current one.
    fn publish(&mut self, now: Timestamp) -> bool {
        if self.state.gone {
            return false;
        }
        let inputs = Inputs {
            pod: &self.pod,
            state: &self.state,
            waiting: &self.waiting,
            host_ips: &self.shared.host_ips,
            before: self.publisher.shown(),
            now,
        };
        let status = status::build(&inputs);
        let before = self.state.reported;
        self.state.reported = self.publisher.settled(&status);
        if self.publisher.start(&status, now) {
            let (client, pod) = (self.shared.client.clone(), self.pod.clone());
            let shown = self.publisher.shown().clone();
            self.work.spawn(async move { (None, Done::Patched(patch(client, &pod, &shown, status).await)) });
        }
        self.state.reported && !before
    }
}
