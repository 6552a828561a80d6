//! Pods: a status that sums up the phase, the reason and every container.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::column::{Cell, Column, age, name, text};
use super::text::{condition, since};
use crate::Object;
use crate::tree::Tree;

/// The columns of pods.
pub(super) const POD: &[Column] = &[
    name(),
    text("Ready", "The aggregate readiness state of this pod for accepting traffic.", Cell::With(ready)),
    text("Status", "The aggregate status of the containers in this pod.", Cell::With(status)),
    text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        Cell::At(restarts),
    ),
    age(),
    text("IP", "Address of the pod.", Cell::With(address)).wide(),
    text("Node", "Node that the pod is bound to.", Cell::Text("spec.nodeName", "<none>")).wide(),
    text("Nominated Node", "Node that preemption makes room on.", Cell::Text("status.nominatedNodeName", "<none>"))
        .wide(),
    text("Readiness Gates", "How many of the pod's own conditions hold.", Cell::With(gates)).wide(),
];

/// What is true of a pod that has ended.
pub(super) fn conditions(pod: &Object) -> Vec<Value> {
    let message = match pod.text("status.phase") {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": pod.text("status.phase"), "message": message})]
}

/// All that is read of the containers at once.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// When a container last ended to be restarted.
    last: Option<Timestamp>,
}

fn ready(pod: &Object) -> String {
    let summary = summary(pod);
    format!("{}/{}", summary.ready, summary.total)
}

fn status(pod: &Object) -> String {
    summary(pod).reason
}

fn restarts(pod: &Object, now: Timestamp) -> Value {
    let summary = summary(pod);
    match summary.last {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, since(&last.to_string(), now)).into()
        }
        _ => summary.restarts.to_string().into(),
    }
}

fn address(pod: &Object) -> String {
    let first = pod.objects("status.podIPs").next().map_or("", |address| address.text("ip"));
    if first.is_empty() { "<none>".into() } else { first.into() }
}

fn gates(pod: &Object) -> String {
    let gates: Vec<_> = pod.objects("spec.readinessGates").map(|gate| gate.text("conditionType")).collect();
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| holds(pod, gate)).count();
    format!("{open}/{}", gates.len())
}

fn holds(pod: &Object, kind: &str) -> bool {
    condition(pod, "status.conditions", kind).is_some_and(|condition| condition.text("status") == "True")
}

fn summary(pod: &Object) -> Summary {
    let sidecar = |name: &str| {
        let mut all = pod.objects("spec.initContainers");
        all.any(|container| container.text("name") == name && container.text("restartPolicy") == "Always")
    };
    let sidecars = pod.objects("spec.initContainers").filter(|container| container.text("restartPolicy") == "Always");
    let mut summary = Summary {
        reason: phase_reason(pod).to_owned(),
        total: pod.list("spec.containers").len() + sidecars.count(),
        ..Summary::default()
    };
    let initializing = summary.read_init_containers(pod, &sidecar);
    if !initializing || holds(pod, "Initialized") {
        summary.restarts = 0;
        summary.last = None;
        let sidecars = pod.objects("status.initContainerStatuses").filter(|status| sidecar(status.text("name")));
        sidecars.for_each(|status| summary.count_restarts(status));
        summary.read_containers(pod);
    }
    let ended = matches!(pod.text("status.phase"), "Succeeded" | "Failed");
    if pod.has("metadata.deletionTimestamp") {
        match pod.text("status.reason") {
            "NodeLost" => summary.reason = "Unknown".into(),
            _ if !ended => summary.reason = "Terminating".into(),
            _ => {}
        }
    }
    summary
}

fn phase_reason(pod: &Object) -> &str {
    let scheduled = condition(pod, "status.conditions", "PodScheduled");
    if scheduled.is_some_and(|condition| condition.text("reason") == "SchedulingGated") {
        return "SchedulingGated";
    }
    match pod.text("status.reason") {
        "" => pod.text("status.phase"),
        reason => reason,
    }
}

impl Summary {
    fn count_restarts(&mut self, status: &Object) {
        self.restarts += status.number("restartCount");
        let ended = status.text("lastState.terminated.finishedAt").parse().ok();
        self.last = self.last.max(ended);
    }

    /// Whether an init container is still at work; the reason then says which or why.
    fn read_init_containers(&mut self, pod: &Object, sidecar: &dyn Fn(&str) -> bool) -> bool {
        for (index, status) in pod.objects("status.initContainerStatuses").enumerate() {
            self.count_restarts(status);
            let ended = status.object("state.terminated");
            if ended.is_some_and(|ended| ended.number("exitCode") == 0) {
                continue;
            }
            if sidecar(status.text("name")) && status.is_true("started") {
                self.ready += usize::from(status.is_true("ready"));
                continue;
            }
            let waiting = status.text("state.waiting.reason");
            self.reason = match ended {
                Some(ended) => format!("Init:{}", end_reason(ended)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{index}/{}", pod.list("spec.initContainers").len()),
            };
            return true;
        }
        false
    }

    fn read_containers(&mut self, pod: &Object) {
        let mut running = false;
        let mut failure = None;
        for status in pod.objects("status.containerStatuses").rev() {
            self.count_restarts(status);
            let waiting = status.text("state.waiting.reason");
            if !waiting.is_empty() {
                self.reason = waiting.into();
            } else if let Some(ended) = status.object("state.terminated") {
                self.reason = end_reason(ended);
                if ended.number("exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if status.is_true("ready") && status.has("state.running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            match failure {
                _ if running && holds(pod, "Ready") => self.reason = "Running".into(),
                Some(failure) => self.reason = failure,
                None if running => self.reason = "NotReady".into(),
                None => {}
            }
        }
    }
}

fn end_reason(ended: &Object) -> String {
    match (ended.text("reason"), ended.number("signal")) {
        ("", 0) => format!("ExitCode:{}", ended.number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}
