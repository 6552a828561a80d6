//! What extends and guards the API: services, webhooks, policies, certificates, flow control, devices.

use jiff::Timestamp;
use serde_json::Value;

use super::column::{Cell, Column, age, count, name, text};
use super::text::{condition, duration, labels, selector};
use crate::Object;
use crate::tree::Tree;

const ADMISSION: &str = "admissionregistration.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const DEVICES: &str = "resource.k8s.io";

const WEBHOOKS: &[Column] = &[
    name(),
    count("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration", "webhooks"),
    age(),
];
const BINDING: &[Column] = &[
    name(),
    text(
        "PolicyName",
        "PolicyName indicates the policy definition which the policy binding binded to",
        Cell::Text("spec.policyName", ""),
    ),
    text("ParamRef", "ParamRef indicates the param resource which sets the configuration param", Cell::With(param)),
    age(),
];
const PARAM_KIND: &str = "ParamKind specifies the kind of resources used to parameterize this policy";

/// Kinds and their columns.
pub(super) const KINDS: &[(&str, &str, &[Column])] = &[
    (
        "apiregistration.k8s.io",
        "APIService",
        &[
            name(),
            text("Service", "The reference to the service that hosts this API endpoint.", Cell::With(service)),
            text("Available", "Whether this service is available.", Cell::With(available)),
            age(),
        ],
    ),
    (ADMISSION, "ValidatingWebhookConfiguration", WEBHOOKS),
    (ADMISSION, "MutatingWebhookConfiguration", WEBHOOKS),
    (
        ADMISSION,
        "ValidatingAdmissionPolicy",
        &[
            name(),
            count(
                "Validations",
                "Validations indicates the number of validation rules defined in this configuration",
                "spec.validations",
            ),
            text("ParamKind", PARAM_KIND, Cell::With(param_kind)),
            age(),
        ],
    ),
    (
        ADMISSION,
        "MutatingAdmissionPolicy",
        &[
            name(),
            count(
                "Mutations",
                "Mutation indicates the number of mutations rules defined in this configuration",
                "spec.mutations",
            ),
            text("ParamKind", PARAM_KIND, Cell::With(param_kind)),
            age(),
        ],
    ),
    (ADMISSION, "ValidatingAdmissionPolicyBinding", BINDING),
    (ADMISSION, "MutatingAdmissionPolicyBinding", BINDING),
    (
        CERTIFICATES,
        "CertificateSigningRequest",
        &[
            name(),
            age(),
            text("SignerName", "Who is asked.", Cell::Text("spec.signerName", "<none>")),
            text("Requestor", "Who asks.", Cell::Text("spec.username", "")),
            text("RequestedDuration", "For how long.", Cell::At(requested)),
            text("Condition", "How it went.", Cell::With(request_state)),
        ],
    ),
    (
        CERTIFICATES,
        "ClusterTrustBundle",
        &[name(), text("SignerName", "Whose roots these are.", Cell::Text("spec.signerName", "<none>"))],
    ),
    (
        CERTIFICATES,
        "PodCertificateRequest",
        &[
            name(),
            text("PodName", "The pod it is for.", Cell::Text("spec.podName", "")),
            text("ServiceAccountName", "Its service account.", Cell::Text("spec.serviceAccountName", "")),
            text("NodeName", "Its node.", Cell::Text("spec.nodeName", "")),
            text("SignerName", "Who is asked.", Cell::Text("spec.signerName", "")),
            text("State", "Is the request Pending, Issued, Denied, or Failed?", Cell::With(pod_request_state)),
            text(
                "UnverifiedUserAnnotations",
                "What else the pod says.",
                Cell::With(|request| labels(request.map("spec.unverifiedUserAnnotations"))),
            ),
        ],
    ),
    (
        FLOW,
        "FlowSchema",
        &[
            name(),
            text("PriorityLevel", "Where requests queue.", Cell::Text("spec.priorityLevelConfiguration.name", "")),
            text("MatchingPrecedence", "Lower is tried first.", Cell::Int("spec.matchingPrecedence")),
            text("DistinguisherMethod", "What a flow is.", Cell::Text("spec.distinguisherMethod.type", "<none>")),
            age(),
            text(
                "MissingPL",
                "references a broken or non-existent PriorityLevelConfiguration",
                Cell::With(|schema| {
                    condition(schema, "status.conditions", "Dangling").map_or("?", |found| found.text("status")).into()
                }),
            ),
        ],
    ),
    (
        FLOW,
        "PriorityLevelConfiguration",
        &[
            name(),
            text("Type", "Exempt or Limited.", Cell::Text("spec.type", "")),
            text(
                "NominalConcurrencyShares",
                "Its share of the server.",
                Cell::At(|level, _| or_none(level, "spec.limited.nominalConcurrencyShares")),
            ),
            text(
                "Queues",
                "How many queues.",
                Cell::At(|level, _| or_none(level, "spec.limited.limitResponse.queuing.queues")),
            ),
            text(
                "HandSize",
                "Queues that a flow may use.",
                Cell::At(|level, _| or_none(level, "spec.limited.limitResponse.queuing.handSize")),
            ),
            text(
                "QueueLengthLimit",
                "How long a queue may be.",
                Cell::At(|level, _| or_none(level, "spec.limited.limitResponse.queuing.queueLengthLimit")),
            ),
            age(),
        ],
    ),
    (DEVICES, "DeviceClass", &[name(), age()]),
    (DEVICES, "ResourceClaimTemplate", &[name(), age()]),
    (
        DEVICES,
        "ResourceClaim",
        &[
            name(),
            text(
                "State",
                "A summary of the current state (allocated, pending, reserved, etc.).",
                Cell::With(claim_state),
            ),
            age(),
        ],
    ),
    (
        DEVICES,
        "ResourceSlice",
        &[
            name(),
            text("Node", "Where the devices are.", Cell::Text("spec.nodeName", "")),
            text("Driver", "Whose devices they are.", Cell::Text("spec.driver", "")),
            text("Pool", "Their pool.", Cell::Text("spec.pool.name", "")),
            age(),
        ],
    ),
    (
        DEVICES,
        "DeviceTaintRule",
        &[
            name(),
            text("Key", "Key of the taint.", Cell::Text("spec.taint.key", "")),
            text("Value", "Its value.", Cell::Text("spec.taint.value", "")),
            text("Effect", "Its effect.", Cell::Text("spec.taint.effect", "")),
            text("TimeAdded", "Time since it holds.", Cell::Since("spec.taint.timeAdded", "")),
            age(),
        ],
    ),
];

fn service(api: &Object) -> String {
    let service = api.object("spec.service");
    service.map_or("Local".into(), |service| format!("{}/{}", service.text("namespace"), service.text("name")))
}

fn available(api: &Object) -> String {
    let Some(found) = condition(api, "status.conditions", "Available") else { return "Unknown".into() };
    match (found.text("status"), found.text("reason")) {
        (status @ "True", _) | (status, "") => status.into(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

fn param_kind(policy: &Object) -> String {
    let kind = policy.object("spec.paramKind");
    kind.map_or("<unset>".into(), |kind| format!("{}/{}", kind.text("apiVersion"), kind.text("kind")))
}

fn param(binding: &Object) -> String {
    let Some(param) = binding.object("spec.paramRef") else { return "<unset>".into() };
    match (param.text("namespace"), param.text("name")) {
        (_, "") => selector(param.map("selector")),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

fn requested(request: &Object, _now: Timestamp) -> Value {
    request.int("spec.expirationSeconds").map_or("<none>".into(), |seconds| duration(seconds).into())
}

fn request_state(request: &Object) -> String {
    let has = |kind: &str| condition(request, "status.conditions", kind).is_some();
    let decision = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if request.text("status.certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}")
}

fn pod_request_state(request: &Object) -> String {
    let known = |kind: &&str| matches!(*kind, "Issued" | "Denied" | "Failed");
    let mut kinds = request.objects("status.conditions").map(|found| found.text("type"));
    kinds.rfind(known).unwrap_or("Pending").into()
}

fn or_none(level: &Object, path: &str) -> Value {
    level.value(path).cloned().unwrap_or_else(|| "<none>".into())
}

fn claim_state(claim: &Object) -> String {
    let deleted = claim.has("metadata.deletionTimestamp");
    let allocated = claim.has("status.allocation");
    let reserved = allocated && !claim.list("status.reservedFor").is_empty();
    let states =
        [(deleted, "deleted"), (!deleted && !allocated, "pending"), (allocated, "allocated"), (reserved, "reserved")];
    states.iter().filter(|(holds, _)| *holds).map(|(_, state)| *state).collect::<Vec<_>>().join(",")
}
