//! `admissionregistration.k8s.io`.

use super::fill::Fill::{self, Absent, Each, In, Make};
use super::fill::Fixed::{Int, Map, Text};
use super::row::{METADATA, Row, SPEC};
use crate::tree::same;

const RULE: &[Fill] = &[Absent("scope", Text("*"))];
const WEBHOOK: &[Fill] = &[
    Absent("failurePolicy", Text("Fail")),
    Absent("matchPolicy", Text("Equivalent")),
    Absent("namespaceSelector", Map),
    Absent("objectSelector", Map),
    Absent("timeoutSeconds", Int(10)),
    Each(&["rules"], RULE),
    In(&["clientConfig"], &[In(&["service"], &[Absent("port", Int(443))])]),
];
const MATCH: &[Fill] = &[
    Absent("matchPolicy", Text("Equivalent")),
    Absent("namespaceSelector", Map),
    Absent("objectSelector", Map),
    Each(&["resourceRules", "excludeResourceRules"], RULE),
];

/// What both configurations have in common.
const WEBHOOKS: Row = Row {
    generation: Some(|new, old| !same(new.get("webhooks"), old.get("webhooks"))),
    needs_revision: true,
    ..Row::PLAIN
};

/// ValidatingWebhookConfigurations.
pub(super) static VALIDATING_WEBHOOKS: Row = Row { fills: &[Each(&["webhooks"], WEBHOOK)], ..WEBHOOKS };

/// MutatingWebhookConfigurations.
pub(super) static MUTATING_WEBHOOKS: Row = Row {
    fills: &[Each(&["webhooks"], WEBHOOK), Each(&["webhooks"], &[Absent("reinvocationPolicy", Text("Never"))])],
    ..WEBHOOKS
};

/// ValidatingAdmissionPolicies and MutatingAdmissionPolicies.
pub(super) static POLICY: Row = Row {
    fills: &[Make("spec", &[Absent("failurePolicy", Text("Fail")), In(&["matchConstraints"], MATCH)])],
    generation: SPEC,
    needs_revision: true,
    status_restores: METADATA,
    ..Row::PLAIN
};

/// The bindings of both.
pub(super) static POLICY_BINDING: Row = Row {
    fills: &[Make("spec", &[In(&["matchResources"], MATCH)])],
    generation: SPEC,
    needs_revision: true,
    ..Row::PLAIN
};
