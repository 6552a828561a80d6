//! Controllers of pods, and what budgets and scales them.

use jiff::Timestamp;
use serde_json::Value;

use super::column::{Cell, Column, age, count, flag, int, name, text};
use super::pod::POD;
use super::text::{condition, duration, first, plain, selector};
use crate::Object;
use crate::tree::Tree;

const SELECTOR: &str = "Which pods belong to it.";

/// The column `Containers` of a kind whose pods' containers are listed at a path.
const fn containers(path: &'static str) -> Column {
    text("Containers", "Names of each container in the template.", Cell::Containers(path, "name"))
}

/// The column `Images` of such a kind.
const fn images(path: &'static str) -> Column {
    text("Images", "Images referenced by each container in the template.", Cell::Containers(path, "image"))
}

/// Kinds and their columns.
pub(super) const KINDS: &[(&str, &str, &[Column])] = &[
    ("", "Pod", POD),
    (
        "",
        "PodTemplate",
        &[
            name(),
            containers("template.spec.containers"),
            images("template.spec.containers"),
            text("Pod Labels", "The labels for the pod template.", Cell::Labels("template.metadata.labels")),
        ],
    ),
    (
        "",
        "ReplicationController",
        &[
            name(),
            int("Desired", "How many pods there should be.", "spec.replicas"),
            int("Current", "How many pods there are.", "status.replicas"),
            int("Ready", "How many pods are ready.", "status.readyReplicas"),
            age(),
            containers("spec.template.spec.containers").wide(),
            images("spec.template.spec.containers").wide(),
            text("Selector", SELECTOR, Cell::Labels("spec.selector")).wide(),
        ],
    ),
    (
        "apps",
        "ReplicaSet",
        &[
            name(),
            int("Desired", "How many pods there should be.", "spec.replicas"),
            int("Current", "How many pods there are.", "status.replicas"),
            int("Ready", "How many pods are ready.", "status.readyReplicas"),
            age(),
            containers("spec.template.spec.containers").wide(),
            images("spec.template.spec.containers").wide(),
            text("Selector", SELECTOR, Cell::Selector("spec.selector")).wide(),
        ],
    ),
    (
        "apps",
        "Deployment",
        &[
            name(),
            text("Ready", "Number of the pod with ready state", Cell::With(ready_of_desired)),
            text("Up-to-date", "How many pods run the current template.", Cell::Int("status.updatedReplicas")),
            text("Available", "How many pods are available.", Cell::Int("status.availableReplicas")),
            age(),
            containers("spec.template.spec.containers").wide(),
            images("spec.template.spec.containers").wide(),
            text("Selector", SELECTOR, Cell::With(|object| selector(object.map("spec.selector")))).wide(),
        ],
    ),
    (
        "apps",
        "StatefulSet",
        &[
            name(),
            text("Ready", "Number of the pod with ready state", Cell::With(ready_of_desired)),
            age(),
            containers("spec.template.spec.containers").wide(),
            images("spec.template.spec.containers").wide(),
        ],
    ),
    (
        "apps",
        "DaemonSet",
        &[
            name(),
            int("Desired", "How many nodes should run the pod.", "status.desiredNumberScheduled"),
            int("Current", "How many nodes run the pod and should.", "status.currentNumberScheduled"),
            int("Ready", "How many of them have a ready pod.", "status.numberReady"),
            int("Up-to-date", "How many of them run the current template.", "status.updatedNumberScheduled"),
            int("Available", "How many of them have an available pod.", "status.numberAvailable"),
            text("Node Selector", "Nodes that are meant.", Cell::Labels("spec.template.spec.nodeSelector")),
            age(),
            containers("spec.template.spec.containers").wide(),
            images("spec.template.spec.containers").wide(),
            text("Selector", SELECTOR, Cell::Selector("spec.selector")).wide(),
        ],
    ),
    (
        "apps",
        "ControllerRevision",
        &[
            name(),
            text("Controller", "Controller of the object", Cell::With(controller)),
            text("Revision", "Which state of its controller this is.", Cell::Json("revision")),
            age(),
        ],
    ),
    (
        "batch",
        "Job",
        &[
            name(),
            text("Status", "Status of the job.", Cell::With(job_status)),
            text("Completions", "How many pods have succeeded.", Cell::With(completions)),
            text("Duration", "Time required to complete the job.", Cell::At(job_duration)),
            age(),
            containers("spec.template.spec.containers").wide(),
            images("spec.template.spec.containers").wide(),
            text("Selector", SELECTOR, Cell::Selector("spec.selector")).wide(),
        ],
    ),
    (
        "batch",
        "CronJob",
        &[
            name(),
            text("Schedule", "When jobs start, in the format of cron.", Cell::Text("spec.schedule", "")),
            text("Timezone", "The time zone of the schedule.", Cell::Text("spec.timeZone", "<none>")),
            flag("Suspend", "Whether no new jobs start.", Cell::With(suspend)),
            count("Active", "How many jobs run now.", "status.active"),
            text(
                "Last Schedule",
                "Time since a job was last started.",
                Cell::Since("status.lastScheduleTime", "<none>"),
            ),
            age(),
            containers("spec.jobTemplate.spec.template.spec.containers").wide(),
            images("spec.jobTemplate.spec.template.spec.containers").wide(),
            text("Selector", SELECTOR, Cell::Selector("spec.jobTemplate.spec.selector")).wide(),
        ],
    ),
    (
        "policy",
        "PodDisruptionBudget",
        &[
            name(),
            text("Min Available", "The minimum number of pods that must be available.", Cell::With(min_available)),
            text("Max Unavailable", "The maximum number of pods that may be unavailable.", Cell::With(max_unavailable)),
            int(
                "Allowed Disruptions",
                "Calculated number of pods that may be disrupted at this time.",
                "status.disruptionsAllowed",
            ),
            age(),
        ],
    ),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        &[
            name(),
            text("Reference", "What is scaled.", Cell::With(scaled)),
            text("Targets", "Current and wanted values of the metrics.", Cell::With(metrics)),
            text("MinPods", "The fewest pods.", Cell::With(min_pods)),
            text("MaxPods", "The most pods.", Cell::Int("spec.maxReplicas")),
            text("Replicas", "How many pods there are.", Cell::Int("status.currentReplicas")),
            age(),
        ],
    ),
    (
        "autoscaling",
        "Scale",
        &[
            name(),
            int("Desired", "How many pods there should be.", "spec.replicas"),
            int("Available", "How many pods there are.", "status.replicas"),
            age(),
        ],
    ),
];

fn ready_of_desired(object: &Object) -> String {
    format!("{}/{}", object.number("status.readyReplicas"), object.number("spec.replicas"))
}

fn controller(object: &Object) -> String {
    let Some(owner) = object.objects("metadata.ownerReferences").find(|owner| owner.is_true("controller")) else {
        return "<none>".into();
    };
    let kind = match owner.text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{}.{group}", owner.text("kind")),
        None => owner.text("kind").to_owned(),
    };
    format!("{}/{}", kind.to_lowercase(), owner.text("name"))
}

fn job_status(job: &Object) -> String {
    let holds = |kind: &str| {
        condition(job, "status.conditions", kind).is_some_and(|condition| condition.text("status") == "True")
    };
    let status = match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if job.has("metadata.deletionTimestamp") => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    status.into()
}

fn completions(job: &Object) -> String {
    let done = job.number("status.succeeded");
    match (job.int("spec.completions"), job.number("spec.parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, workers) if workers > 1 => format!("{done}/1 of {workers}"),
        (None, _) => format!("{done}/1"),
    }
}

fn job_duration(job: &Object, now: Timestamp) -> Value {
    let time = |path: &str| job.text(path).parse::<Timestamp>().ok();
    let Some(start) = time("status.startTime") else { return "".into() };
    let end = time("status.completionTime").unwrap_or(now);
    duration(end.as_second() - start.as_second()).into()
}

fn suspend(job: &Object) -> String {
    match job.flag("spec.suspend") {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => "<unset>".into(),
    }
}

fn or_not_applicable(value: Option<&Value>) -> String {
    if value.is_none() { "N/A".into() } else { plain(value) }
}

fn min_available(budget: &Object) -> String {
    or_not_applicable(budget.value("spec.minAvailable"))
}

fn max_unavailable(budget: &Object) -> String {
    or_not_applicable(budget.value("spec.maxUnavailable"))
}

fn scaled(scaler: &Object) -> String {
    let target = scaler.map("spec.scaleTargetRef");
    format!("{}/{}", target.text("kind"), target.text("name"))
}

fn min_pods(scaler: &Object) -> String {
    scaler.int("spec.minReplicas").map_or("<unset>".into(), |least| least.to_string())
}

/// `cpu: 12%/80%` and the like: upstream's `formatHPAMetrics`.
fn metrics(scaler: &Object) -> String {
    let statuses: Vec<_> = scaler.objects("status.currentMetrics").collect();
    let specs = scaler.objects("spec.metrics").enumerate();
    let texts: Vec<_> = specs.map(|(index, spec)| metric(spec, statuses.get(index).copied())).collect();
    first(&texts, 2, ", ", "<none>")
}

fn metric(spec: &Object, status: Option<&Object>) -> String {
    let (field, is_resource) = match spec.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".into(),
    };
    let target = spec.map(field).map("target");
    let current = status.map(|status| status.map(field).map("current"));
    let now = |value: &str| {
        let found = current.and_then(|current| current.value(value));
        if found.is_some() { plain(found) } else { "<unknown>".into() }
    };
    if is_resource {
        let name = spec.map(field).text("name");
        return match target.value("averageValue") {
            Some(wanted) => format!("{name}: {}/{}", now("averageValue"), plain(Some(wanted))),
            None => {
                let percent = |value: Option<i64>, none: &str| value.map_or(none.into(), |value| format!("{value}%"));
                let wanted = percent(target.int("averageUtilization"), "<auto>");
                let current = current.and_then(|current| current.int("averageUtilization"));
                format!("{name}: {}/{wanted}", percent(current, "<unknown>"))
            }
        };
    }
    match (field, target.value("averageValue")) {
        ("pods", wanted) => format!("{}/{}", now("averageValue"), plain(wanted)),
        (_, Some(wanted)) => format!("{}/{} (avg)", now("averageValue"), plain(Some(wanted))),
        (_, None) => format!("{}/{}", now("value"), plain(target.value("value"))),
    }
}
