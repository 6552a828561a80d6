//! Namespaces, nodes, events, configuration, permissions.

use jiff::Timestamp;
use serde_json::Value;

use super::column::{Cell, Column, age, flag, int, name, text};
use super::text::{condition, join, plain, since};
use crate::Object;
use crate::tree::Tree;

const BINDING: &[Column] = &[
    name(),
    text("Role", "What is granted.", Cell::With(|binding| reference(binding.map("roleRef")))),
    age(),
    text("Users", "Users in the binding", Cell::With(|binding| subjects(binding, "User"))).wide(),
    text("Groups", "Groups in the binding", Cell::With(|binding| subjects(binding, "Group"))).wide(),
    text(
        "ServiceAccounts",
        "ServiceAccounts in the binding",
        Cell::With(|binding| subjects(binding, "ServiceAccount")),
    )
    .wide(),
];

const EVENT: &[Column] = &[
    text("Last Seen", "Time since it last happened.", Cell::At(last_seen)),
    text("Type", "Normal or Warning.", Cell::Text("type", "")),
    text("Reason", "Why it happened, in one word.", Cell::Text("reason", "")),
    text("Object", "What it is about.", Cell::With(event_object)),
    text("Subobject", "Which part of that.", Cell::Text("involvedObject.fieldPath", "")).wide(),
    text("Source", "Who reports it.", Cell::With(event_source)).wide(),
    text("Message", "What happened.", Cell::With(|event| event.text("message").trim().to_owned())),
    text("First Seen", "Time since it first happened.", Cell::At(first_seen)).wide(),
    text("Count", "How often it happened.", Cell::At(|event, _| event_count(event).into())).wide(),
    name().wide(),
];

/// Kinds and their columns.
pub(super) const KINDS: &[(&str, &str, &[Column])] = &[
    ("", "Namespace", &[name(), text("Status", "The status of the namespace", Cell::Text("status.phase", "")), age()]),
    (
        "",
        "Node",
        &[
            name(),
            text("Status", "The status of the node", Cell::With(node_status)),
            text("Roles", "The roles of the node", Cell::With(node_roles)),
            age(),
            text("Version", "Version of the node's agent.", Cell::Text("status.nodeInfo.kubeletVersion", "")),
            text("Internal-IP", "Address in the cluster.", Cell::With(|node| node_address(node, "InternalIP"))).wide(),
            text("External-IP", "Address from outside.", Cell::With(|node| node_address(node, "ExternalIP"))).wide(),
            text("OS-Image", "Operating system.", Cell::Text("status.nodeInfo.osImage", "<unknown>")).wide(),
            text("Kernel-Version", "Its kernel.", Cell::Text("status.nodeInfo.kernelVersion", "<unknown>")).wide(),
            text(
                "Container-Runtime",
                "What runs containers.",
                Cell::Text("status.nodeInfo.containerRuntimeVersion", "<unknown>"),
            )
            .wide(),
        ],
    ),
    ("", "Event", EVENT),
    ("events.k8s.io", "Event", EVENT),
    (
        "",
        "Secret",
        &[
            name(),
            text("Type", "What it holds.", Cell::Text("type", "")),
            text("Data", "How many entries it has.", Cell::Count("data")),
            age(),
        ],
    ),
    ("", "ConfigMap", &[name(), text("Data", "How many entries it has.", Cell::At(|map, _| data(map).into())), age()]),
    ("", "ServiceAccount", &[name(), age()]),
    (
        "",
        "ResourceQuota",
        &[
            name(),
            text(
                "Request",
                "Request represents a minimum amount of cpu/memory that a container may consume.",
                Cell::With(|quota| usage(quota, false)),
            ),
            text(
                "Limit",
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
                Cell::With(|quota| usage(quota, true)),
            ),
            age(),
        ],
    ),
    (
        "",
        "ComponentStatus",
        &[
            name(),
            text("Status", "Status of the component conditions", Cell::With(|component| health(component, "status"))),
            text(
                "Message",
                "Message of the component conditions",
                Cell::With(|component| health(component, "message")),
            ),
            text("Error", "Error of the component conditions", Cell::With(|component| health(component, "error"))),
        ],
    ),
    ("rbac.authorization.k8s.io", "RoleBinding", BINDING),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", BINDING),
    (
        "coordination.k8s.io",
        "Lease",
        &[name(), text("Holder", "Who holds it.", Cell::Text("spec.holderIdentity", "")), age()],
    ),
    (
        "coordination.k8s.io",
        "LeaseCandidate",
        &[
            name(),
            text("LeaseName", "The lease it is a candidate for.", Cell::Text("spec.leaseName", "")),
            text("BinaryVersion", "Version of its binary.", Cell::Text("spec.binaryVersion", "")),
            text("EmulationVersion", "Version it emulates.", Cell::Text("spec.emulationVersion", "")),
            age(),
        ],
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[
            name(),
            int("Value", "The priority of pods of this class.", "value"),
            flag("Global-Default", "Whether it is for pods that name no class.", Cell::Flag("globalDefault", false)),
            age(),
            text("PreemptionPolicy", "Whether its pods may evict others.", Cell::Text("preemptionPolicy", "")),
        ],
    ),
    (
        "node.k8s.io",
        "RuntimeClass",
        &[name(), text("Handler", "The runtime's name for it.", Cell::Text("handler", "")), age()],
    ),
];

fn reference(role: &Object) -> String {
    format!("{}/{}", role.text("kind"), role.text("name"))
}

fn subjects(binding: &Object, kind: &str) -> String {
    let name = |subject: &Object| match kind {
        "ServiceAccount" => format!("{}/{}", subject.text("namespace"), subject.text("name")),
        _ => subject.text("name").to_owned(),
    };
    let subjects = binding.objects("subjects").filter(|subject| subject.text("kind") == kind);
    subjects.map(name).collect::<Vec<_>>().join(", ")
}

fn node_status(node: &Object) -> String {
    let status = match condition(node, "status.conditions", "Ready").map(|ready| ready.text("status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if node.is_true("spec.unschedulable") { format!("{status},SchedulingDisabled") } else { status.into() }
}

fn node_roles(node: &Object) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let mut roles: Vec<_> =
        node.map("metadata.labels").iter().filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { join(roles.iter().map(String::as_str)) }
}

fn node_address(node: &Object, kind: &str) -> String {
    let address = node.objects("status.addresses").find(|address| address.text("type") == kind);
    address.map_or("<none>", |address| address.text("address")).into()
}

fn first_seen(event: &Object, now: Timestamp) -> Value {
    let time = match event.text("firstTimestamp") {
        "" => event.text("eventTime"),
        time => time,
    };
    since(time, now).into()
}

fn last_seen(event: &Object, now: Timestamp) -> Value {
    match (event.object("series"), event.text("lastTimestamp")) {
        (Some(series), _) => since(series.text("lastObservedTime"), now).into(),
        (None, "") => first_seen(event, now),
        (None, time) => since(time, now).into(),
    }
}

fn event_count(event: &Object) -> i64 {
    match event.object("series") {
        Some(series) => series.number("count"),
        None => event.number("count").max(1),
    }
}

fn event_object(event: &Object) -> String {
    let object = event.map("involvedObject");
    let kind = object.text("kind").to_lowercase();
    match object.text("name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn event_source(event: &Object) -> String {
    let either = |one: &'static str, other: &'static str| match event.text(one) {
        "" => event.text(other),
        text => text,
    };
    let component = either("source.component", "reportingComponent");
    match either("source.host", "reportingInstance") {
        "" => component.into(),
        instance => format!("{component}, {instance}"),
    }
}

fn data(map: &Object) -> usize {
    map.map("data").len() + map.map("binaryData").len()
}

fn usage(quota: &Object, limits: bool) -> String {
    let used = quota.map("status.used");
    let text = |(name, hard): (&String, &Value)| {
        let used = used.get(name).map_or("0".into(), |used| plain(Some(used)));
        format!("{name}: {used}/{}", plain(Some(hard)))
    };
    let wanted = |(name, _): &(&String, &Value)| name.starts_with("limits.") == limits;
    quota.map("status.hard").iter().filter(wanted).map(text).collect::<Vec<_>>().join(", ")
}

fn health(component: &Object, field: &str) -> String {
    match (condition(component, "conditions", "Healthy"), field) {
        (None, "status") => "Unknown".into(),
        (None, _) => String::new(),
        (Some(found), "status") if found.text("status") == "True" => "Healthy".into(),
        (Some(_), "status") => "Unhealthy".into(),
        (Some(found), field) => found.text(field).into(),
    }
}
