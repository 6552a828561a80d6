//! ReplicationControllers and PodTemplates.

use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::strategy::Context;
use crate::strategy::apps::check_counts;
use crate::strategy::fill::Fill::{Absent, Drop, In, Make, With};
use crate::strategy::fill::Fixed::Int;
use crate::strategy::pod::{TEMPLATE, check_lasting, check_template, warn_of_template};
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check};
use crate::tree::{Tree, same};

/// ReplicationControllers.
pub(in crate::strategy) static CONTROLLER: Row = Row {
    fills: &[
        With(labels_from_template),
        Make("spec", &[Absent("replicas", Int(1)), Drop(&["minReadySeconds"]), In(&["template"], TEMPLATE)]),
    ],
    check: check_controller,
    check_status: |errors, new, old| {
        check_counts(errors, new, old, &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"]);
    },
    generation: SPEC,
    orphans: true,
    warn: |new, old| warn_of_template(new, old, "spec.template"),
    ..Row::PLAIN
};

/// PodTemplates.
pub(in crate::strategy) static POD_TEMPLATE: Row = Row {
    fills: &[Make("template", TEMPLATE)],
    rules: &[Rule::In("template", &[Rule::With(check_template)])],
    generation: Some(|new, old| !same(new.get("template"), old.get("template"))),
    ..Row::PLAIN
};

/// A controller selects, and is labelled with, its template's labels unless it says otherwise.
fn labels_from_template(controller: &mut Object) {
    let Some(labels @ Value::Object(_)) = controller.value("spec.template.metadata.labels").cloned() else { return };
    if controller.map("spec.selector").is_empty() {
        controller.section("spec").insert("selector".into(), labels.clone());
    }
    if controller.map("metadata.labels").is_empty() {
        controller.meta_mut().insert("labels".into(), labels);
    }
}

fn check_controller(_cx: &Context<'_>, errors: &mut Errors, controller: &Object) {
    let spec = At { path: Path::root("spec"), object: controller.map("spec") };
    check(errors, &spec, &[Rule::NonNegative("minReadySeconds")]);
    let labels = spec.object.map("selector");
    if labels.is_empty() {
        errors.required(spec.path("selector"), "");
    }
    check(errors, &spec, &[Rule::NonNegative("replicas")]);
    let mut selector = Object::new();
    selector.insert("matchLabels".into(), Value::Object(labels.clone()));
    check_lasting(errors, &spec, "ReplicationController", &selector);
}
