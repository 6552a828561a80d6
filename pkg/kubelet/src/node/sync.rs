//! Registering the node and keeping its status current: written when something has changed, else every five minutes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use knarr_client::Cache;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::conditions::{self, Health};
use super::facts::{Facts, memory};
use super::object;
use crate::config::Config;
use crate::containerd::State;
use crate::cri::{Runtime, api};

/// How often pressures and images are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// While the node is not ready: what it waits for comes without an event of its own. Ever more rarely.
const LOOK_CLOSELY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// An unchanged status is written again after this long.
const REPORT: SignedDuration = SignedDuration::from_mins(5);

/// The node's object.
pub(crate) struct Sync {
    pub(crate) config: Arc<Config>,
    pub(crate) facts: Facts,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) runtime_state: watch::Receiver<State>,
    pub(crate) client: kube::Client,
    pub(crate) nodes: Cache<Node>,
}

impl Sync {
    /// Registers the node, then keeps its status current until the shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut written: Option<(NodeStatus, Timestamp)> = None;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
        let mut closely = Backoff::new(LOOK_CLOSELY.0, LOOK_CLOSELY.1);
        loop {
            let Some((status, ready)) = shutdown.or(self.observe(written.as_ref().map(|(status, _)| status))).await
            else {
                return;
            };
            let now = Timestamp::now();
            let due =
                written.as_ref().is_none_or(|(former, at)| now.duration_since(*at) >= REPORT || !same(former, &status));
            let mut wait = if ready { LOOK } else { closely.delay() };
            if ready {
                closely.reset();
            }
            if due {
                let Some(outcome) = shutdown.or(self.write(written.is_none(), &status)).await else { return };
                match outcome {
                    Ok(()) => {
                        backoff.reset();
                        written = Some((status, now));
                    }
                    Err(error) => {
                        tracing::debug!("cannot write the node's status: {error}");
                        wait = backoff.delay();
                    }
                }
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(wait) => {}
                changed = self.runtime_state.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The status as it should be, and whether the node is ready.
    async fn observe(&mut self, before: Option<&NodeStatus>) -> (NodeStatus, bool) {
        let mut health = Health::default();
        let up = matches!(*self.runtime_state.borrow_and_update(), State::Up(_));
        let images = if up { self.runtime.list_images().await.ok() } else { None };
        if up {
            health.not_ready = self.runtime_problems().await;
            if self.facts.info.container_runtime_version.is_empty()
                && let Ok(version) = self.runtime.version().await
            {
                self.facts.info.container_runtime_version =
                    format!("{}://{}", version.runtime_name, version.runtime_version);
            }
        } else {
            health.not_ready.push("container runtime is down".into());
        }
        pressures(&self.config.data, &mut health);
        self.facts.info.kubelet_version.clone_from(&self.config.version);
        let mut status = object::status(&self.config, &self.facts, images.as_deref().unwrap_or_default());
        let cached = self.nodes.get("", &self.config.node_name).and_then(|node| node.status.clone());
        let known = before.cloned().or(cached).unwrap_or_default();
        if images.is_none() {
            // A runtime that does not answer has not lost its images.
            status.images = known.images;
        }
        status.conditions = Some(conditions::build(&health, &known.conditions.unwrap_or_default(), Timestamp::now()));
        (status, health.not_ready.is_empty())
    }

    async fn runtime_problems(&self) -> Vec<String> {
        match self.runtime.status().await {
            Err(error) => vec![format!("container runtime status check failed: {error}")],
            Ok(status) => {
                let lacking = |wanted: &str, prefix: &str| {
                    let found = status.conditions.iter().find(|condition| condition.r#type == wanted);
                    match found {
                        Some(condition) if condition.status => None,
                        Some(api::RuntimeCondition { reason, message, .. }) => {
                            Some(format!("{prefix} not ready: {wanted}=false reason:{reason} message:{message}"))
                        }
                        None => Some(format!("{prefix} not ready: {wanted} is unknown")),
                    }
                };
                [lacking("RuntimeReady", "container runtime"), lacking("NetworkReady", "container runtime network")]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    }

    /// The first write creates the node, or gives an existing one our labels.
    async fn write(&self, first: bool, status: &NodeStatus) -> Result<(), kube::Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let name = &self.config.node_name;
        let parameters = PatchParams::default();
        if first {
            match nodes.create(&PostParams::default(), &object::fresh(&self.config, status.clone())).await {
                Err(kube::Error::Api(answer)) if answer.code == 409 => {
                    let labels = json!({"metadata": {"labels": object::labels(&self.config)}});
                    nodes.patch(name, &parameters, &Patch::Strategic(labels)).await?;
                }
                created => {
                    created?;
                    tracing::info!("registered node {name}");
                }
            }
        }
        match nodes.patch_status(name, &parameters, &Patch::Strategic(body(status))).await {
            // Somebody has deleted the node: it registers again.
            Err(kube::Error::Api(answer)) if answer.code == 404 && !first => {
                nodes.create(&PostParams::default(), &object::fresh(&self.config, status.clone())).await.map(|_| ())
            }
            outcome => outcome.map(|_| ()),
        }
    }
}

/// The patch. Addresses are replaced as a whole: a strategic merge would keep an address of a type that has several.
fn body(status: &NodeStatus) -> Value {
    let mut status = serde_json::to_value(status).unwrap_or_default();
    if let Some(addresses) = status.get_mut("addresses").and_then(Value::as_array_mut) {
        addresses.push(json!({"$patch": "replace"}));
    }
    json!({"status": status})
}

/// Whether two statuses differ in nothing but heartbeats.
fn same(one: &NodeStatus, other: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(one) == still(other)
}

/// Upstream's hard eviction thresholds: 100Mi of memory, 10 % of the disk, 5 % of its inodes; and a tenth of the pids.
fn pressures(data: &Path, health: &mut Health) {
    if let Ok(text) = std::fs::read_to_string("/proc/meminfo") {
        health.memory_pressure = memory(&text).available < 100 << 20;
    }
    if let Ok(found) = nix::sys::statvfs::statvfs(data) {
        let low = |free: u64, all: u64, percent: u64| all > 0 && free * 100 < all * percent;
        health.disk_pressure =
            low(found.blocks_available(), found.blocks(), 10) || low(found.files_available(), found.files(), 5);
    }
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let running = std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().nth(3)?.split('/').nth(1)?.parse::<u64>().ok());
    if let (Some(most), Some(running)) = (number("/proc/sys/kernel/pid_max"), running) {
        health.pid_pressure = running * 10 > most * 9;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_alone_is_no_change() {
        let at = |second| NodeStatus {
            conditions: Some(conditions::build(&Health::default(), &[], Timestamp::from_second(second).unwrap())),
            ..NodeStatus::default()
        };
        let mut later = at(1);
        for condition in later.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(9).unwrap()));
        }
        assert!(same(&at(1), &later));
        assert!(!same(&at(1), &at(2)), "the time of a change counts");
    }
}
