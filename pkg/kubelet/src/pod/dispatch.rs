//! From the API's pods and the runtime's events to the actors.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_base::Shutdown;
use knarr_client::{Cache, Change};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

use super::Report;
use super::actor::{Actor, Message};
use super::admit;
use super::names;
use super::shared::Shared;
use super::spec::{PodExt as _, Total, milli, shares};
use super::state::{Cause, State, Stop};
use super::work::observe;
use crate::cgroup::Qos;
use crate::containerd::{self, Exit};
use crate::cri::{Error, Runtime};

/// How often the runtime is asked for what its events may have missed.
const RELIST: Duration = Duration::from_mins(1);
/// How long an actor waits before it looks at the runtime again, when the runtime did not answer.
const AGAIN: Duration = Duration::from_millis(200);

/// The pods of this node.
pub(crate) struct Pods {
    shared: Arc<Shared>,
    cache: Cache<Pod>,
    runtime_state: watch::Receiver<containerd::State>,
    actors: HashMap<String, Known>,
    running: JoinSet<()>,
    uids: HashMap<Id, String>,
    /// The pods that the runtime had something of when we started.
    before: HashSet<String>,
}

struct Known {
    pod: Arc<Pod>,
    inbox: mpsc::UnboundedSender<Message>,
}

/// What the relist found: by pod, each sandbox and container with its state.
type Listed = BTreeMap<String, Vec<(String, i32)>>;

impl Pods {
    pub(crate) fn new(
        shared: Arc<Shared>,
        cache: Cache<Pod>,
        runtime_state: watch::Receiver<containerd::State>,
    ) -> Self {
        Self {
            shared,
            cache,
            runtime_state,
            actors: HashMap::new(),
            running: JoinSet::new(),
            uids: HashMap::new(),
            before: HashSet::new(),
        }
    }

    /// Runs until the shutdown. Pods go on.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let Some(()) = shutdown.or(self.cache.synced()).await else { return };
        let (exits, mut heard) = mpsc::unbounded_channel();
        let listener = tokio::spawn(listen(self.shared.runtime.clone(), self.runtime_state.clone(), exits));
        let _listener = tokio_util::task::AbortOnDropHandle::new(listener);
        if shutdown.or(self.sweep()).await.is_none() {
            return;
        }
        let mut changes = self.cache.subscribe();
        let mut relist = tokio::time::interval(RELIST);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut former = Listed::new();
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                change = changes.next() => self.change(change).await,
                Some(heard) = heard.recv() => match heard {
                    Heard::Exit(exit) => self.exit(exit),
                    Heard::Subscribed => relist.reset_immediately(),
                },
                Some(ended) = self.running.join_next_with_id() => self.ended(ended).await,
                _ = relist.tick() => self.relist(&mut former).await,
            }
        }
    }

    /// What ran before us and belongs to no pod of the API any more is ended; directories likewise.
    async fn sweep(&mut self) {
        let wanted: HashSet<String> = self.cache.list().iter().map(|pod| pod.uid().to_owned()).collect();
        let listed = loop {
            match list(&self.shared).await {
                Ok(listed) => break listed,
                Err(error) => {
                    tracing::debug!("cannot list sandboxes yet: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        self.before = listed.keys().cloned().collect();
        let mut orphans: HashSet<String> = listed.keys().filter(|uid| !uid.is_empty()).cloned().collect();
        orphans.extend(directories(&self.shared.pods));
        match self.shared.cgroups.pod_uids() {
            Ok(uids) => orphans.extend(uids),
            Err(error) => tracing::warn!("cannot look for cgroups of former pods: {error}"),
        }
        for uid in orphans.difference(&wanted) {
            tracing::info!("pod {uid} was deleted while nobody looked: ending what is left of it");
            let pod = orphan(&self.shared, uid).await;
            let state = State { gone: true, stale: true, ..State::default() };
            self.spawn(Arc::new(pod), state);
        }
    }

    async fn change(&mut self, change: Change<Pod>) {
        let (old, new) = (change.old.as_ref().map(|pod| pod.uid().to_owned()), change.new);
        let replaced = old.filter(|old| new.as_ref().is_none_or(|new| new.uid() != old));
        if let Some(known) = replaced.and_then(|uid| self.actors.get(&uid)) {
            // An actor that has just ended needs to know nothing.
            let _ended = known.inbox.send(Message::Gone);
        }
        let Some(pod) = new else { return };
        if let Some(known) = self.actors.get_mut(pod.uid()) {
            known.pod = pod.clone();
            let _ended = known.inbox.send(Message::Pod(pod));
            return;
        }
        let state = self.initial(&pod).await;
        let burstable = pod.qos() == Qos::Burstable;
        self.spawn(pod, state);
        if burstable {
            self.weigh().await;
        }
    }

    /// What the runtime has of a pod that is new to us; a pod of which it has nothing must be admitted first.
    async fn initial(&self, pod: &Pod) -> State {
        let mut state = State::default();
        if self.before.contains(pod.uid()) {
            match observe::pod(self.shared.runtime.as_ref(), pod.uid()).await {
                Ok((sandboxes, instances)) => (state.sandboxes, state.instances) = (sandboxes, instances),
                Err(_) => return State { stale: true, ..State::default() },
            }
        }
        for id in state.sandboxes.iter().map(|one| &one.id).chain(state.instances.iter().map(|one| &one.id)) {
            self.shared.owners.add(id, pod.uid());
        }
        let fresh = state.sandboxes.is_empty() && !pod.terminal() && !pod.deleted();
        let Some(node) = self.shared.nodes.get("", &self.shared.node_name).filter(|_| fresh) else { return state };
        let others: Vec<Arc<Pod>> =
            self.actors.values().map(|known| known.pod.clone()).filter(|other| !other.terminal()).collect();
        if let Err((reason, message)) = admit::admit(pod, &node, &self.shared.allocatable(), &others) {
            Report::of(&self.shared.recorder, pod).warning(&reason, &message);
            let cause = Cause::Failed { reason, message: format!("Pod was rejected: {message}") };
            state.stop = Some(Stop { cause, since: Timestamp::now(), grace: 0 });
        }
        state
    }

    fn spawn(&mut self, pod: Arc<Pod>, state: State) {
        let uid = pod.uid().to_owned();
        let (inbox, messages) = mpsc::unbounded_channel();
        let actor = Actor::new(self.shared.clone(), pod.clone(), state, messages);
        let handle = self.running.spawn(actor.run());
        self.uids.insert(handle.id(), uid.clone());
        self.actors.insert(uid, Known { pod, inbox });
    }

    /// An actor that has ended has nothing left; one that panicked takes the kubelet with it, so that it starts afresh.
    async fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => error.id(),
        };
        let known = self.uids.remove(&id).and_then(|uid| self.actors.remove(&uid));
        if known.is_some_and(|known| known.pod.qos() == Qos::Burstable) {
            self.weigh().await;
        }
    }

    fn exit(&self, exit: Exit) {
        let owner = self.shared.owners.of(&exit.id).and_then(|uid| self.actors.get(&uid));
        if let Some(known) = owner {
            let _ended = known.inbox.send(Message::Exit(exit.id));
        }
    }

    /// Compares the runtime with what it was a minute ago; pods with differences look for themselves.
    async fn relist(&mut self, former: &mut Listed) {
        let Ok(listed) = list(&self.shared).await else { return };
        for (uid, known) in &self.actors {
            if listed.get(uid) != former.get(uid) {
                let _ended = known.inbox.send(Message::Refresh);
            }
        }
        *former = listed;
    }

    /// All burstable pods together get the sum of their requests.
    async fn weigh(&self) {
        let burstable = self.actors.values().filter(|known| known.pod.qos() == Qos::Burstable && !known.pod.terminal());
        let requests: i64 = burstable.map(|known| Total::of(known.pod.spec(), "cpu", milli).request).sum();
        if let Err(error) = self.shared.cgroups.set_burstable(shares(requests)).await {
            tracing::warn!("cannot set the shares of burstable pods: {error}");
        }
    }
}

enum Heard {
    Exit(Exit),
    /// Events before this one may have been missed.
    Subscribed,
}

/// Hears containerd's events, and subscribes again to each new containerd.
async fn listen(
    runtime: Arc<dyn Runtime>,
    mut state: watch::Receiver<containerd::State>,
    to: mpsc::UnboundedSender<Heard>,
) {
    loop {
        if state.wait_for(|state| matches!(state, containerd::State::Up(_))).await.is_err() {
            return;
        }
        match runtime.exits().await {
            Ok(mut exits) => {
                if to.send(Heard::Subscribed).is_err() {
                    return;
                }
                while let Some(exit) = exits.next().await {
                    if to.send(Heard::Exit(exit)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!("cannot hear containerd's events, ends of containers are found late: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn list(shared: &Shared) -> Result<Listed, Error> {
    let (sandboxes, containers) =
        tokio::try_join!(shared.runtime.list_sandboxes(&[]), shared.runtime.list_containers(&[]))?;
    let mut listed = Listed::new();
    let uid = |labels: &HashMap<String, String>| labels.get(names::POD_UID).cloned().unwrap_or_default();
    for sandbox in sandboxes {
        listed.entry(uid(&sandbox.labels)).or_default().push((sandbox.id, sandbox.state));
    }
    for container in containers {
        listed.entry(uid(&container.labels)).or_default().push((container.id, container.state));
    }
    for entries in listed.values_mut() {
        entries.sort();
    }
    Ok(listed)
}

/// The UIDs of pods that have a directory.
fn directories(pods: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(pods).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What is known of a pod that only the runtime remembers: its identity, and how long it may take to end.
async fn orphan(shared: &Shared, uid: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some(uid.to_owned());
    let label = [(names::POD_UID, uid)];
    if let Some(sandbox) = shared.runtime.list_sandboxes(&label).await.ok().and_then(|list| list.into_iter().next()) {
        pod.metadata.name = sandbox.labels.get(names::POD_NAME).cloned();
        pod.metadata.namespace = sandbox.labels.get(names::POD_NAMESPACE).cloned();
    }
    let containers = shared.runtime.list_containers(&label).await.unwrap_or_default();
    let grace = containers.iter().filter_map(|container| names::grace(&container.annotations)).max();
    pod.metadata.deletion_grace_period_seconds = Some(grace.unwrap_or(30));
    pod
}
