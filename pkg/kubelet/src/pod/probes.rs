//! The probes of a pod's running containers: which of them run, and what they found.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Probe};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Report;
use super::actor::Event;
use super::shared::Shared;
use super::spec::{PodExt as _, Role};
use super::state::{Health, Stage, State};
use crate::probe::{Kind, Target, Verdict, spawn};

/// The running probes of one pod.
#[derive(Default)]
pub(super) struct Probes {
    running: HashMap<(String, Kind), AbortOnDropHandle<()>>,
    /// A startup or liveness probe that has come to its end.
    finished: HashSet<(String, Kind)>,
}

impl Probes {
    /// After a restart of the kubelet a container that was ready stays so until a probe says otherwise.
    pub(super) fn adopt(pod: &Pod, published: &PodStatus, state: &mut State) -> Self {
        let lists = [&published.container_statuses, &published.init_container_statuses];
        for status in lists.into_iter().flat_map(|list| list.iter().flatten()) {
            let id = status.container_id.as_deref().unwrap_or_default().trim_start_matches("containerd://");
            let known = state.instances.iter().any(|instance| instance.id == id && instance.stage == Stage::Running);
            if known && pod.part(&status.name).is_some() {
                let well = |holds: bool| holds.then_some(true);
                let health = Health {
                    startup: well(status.started == Some(true)),
                    liveness: None,
                    readiness: well(status.ready),
                };
                state.health.insert(id.to_owned(), health);
            }
        }
        Self::default()
    }

    /// Starts the probes that should run now and ends the others.
    pub(super) fn follow(
        &mut self,
        shared: &Arc<Shared>,
        pod: &Arc<Pod>,
        state: &State,
        report: &Report,
        events: &mpsc::UnboundedSender<Event>,
    ) {
        let running: HashSet<&str> = state
            .instances
            .iter()
            .filter(|instance| instance.stage == Stage::Running)
            .map(|instance| instance.id.as_str())
            .collect();
        self.running.retain(|(id, _), _| running.contains(id.as_str()));
        self.finished.retain(|(id, _)| running.contains(id.as_str()));
        for part in pod.parts().into_iter().filter(|part| matches!(part.role, Role::Sidecar | Role::Regular)) {
            let Some(instance) = state.latest(part.name()).filter(|instance| instance.stage == Stage::Running) else {
                continue;
            };
            if state.kills.contains_key(&instance.id) {
                continue;
            }
            for (kind, probe) in wanted(&part.container, state.health(&instance.id)) {
                let key = (instance.id.clone(), kind);
                if self.running.contains_key(&key) || self.finished.contains(&key) {
                    continue;
                }
                let host = shared.host_ips.first();
                let own = state.sandbox().and_then(|sandbox| sandbox.ips.first());
                let target = Target {
                    runtime: shared.runtime.clone(),
                    id: instance.id.clone(),
                    container: part.container.clone().into_owned(),
                    ip: if pod.host_network() { host } else { own }.cloned().unwrap_or_default(),
                };
                let started = instance.started_at.unwrap_or_else(Timestamp::now);
                let report = report.container(pod, part.name());
                self.running.insert(key, spawn(kind, target, probe.clone(), started, report, forward(events)));
            }
        }
    }

    /// Takes a verdict into the state.
    pub(super) fn judge(&mut self, verdict: Verdict, state: &mut State) {
        let Verdict { id, kind, well } = verdict;
        if !state.instances.iter().any(|instance| instance.id == id && instance.stage == Stage::Running) {
            return;
        }
        let health = state.health.entry(id.clone()).or_default();
        match kind {
            Kind::Startup => health.startup = Some(well),
            Kind::Liveness => health.liveness = Some(well),
            Kind::Readiness => health.readiness = Some(well),
        }
        if kind == Kind::Startup || (kind == Kind::Liveness && !well) {
            self.running.remove(&(id.clone(), kind));
            self.finished.insert((id, kind));
        }
    }

    /// A container that is being killed is not probed any more.
    pub(super) fn forget(&mut self, id: &str) {
        self.running.retain(|(running, _), _| running != id);
    }

    pub(super) fn clear(&mut self) {
        self.running.clear();
    }
}

/// The startup probe alone until it has succeeded, then the two others.
fn wanted(container: &Container, health: Health) -> Vec<(Kind, &Probe)> {
    match (&container.startup_probe, health.startup) {
        (Some(_), Some(false)) => Vec::new(),
        (Some(probe), None) => vec![(Kind::Startup, probe)],
        _ => {
            let liveness = container.liveness_probe.as_ref().map(|probe| (Kind::Liveness, probe));
            let readiness = container.readiness_probe.as_ref().map(|probe| (Kind::Readiness, probe));
            liveness.into_iter().chain(readiness).collect()
        }
    }
}

/// Verdicts as the actor's events.
fn forward(events: &mpsc::UnboundedSender<Event>) -> impl Fn(Verdict) -> bool + Send + Sync + 'static {
    let events = events.clone();
    move |verdict| events.send(Event::Verdict(verdict)).is_ok()
}
