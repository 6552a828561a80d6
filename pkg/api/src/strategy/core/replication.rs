//! ReplicationControllers and PodTemplates.

use serde_json::Value;

use crate::Object;
use crate::object::Meta;
use crate::strategy::fill::Fill::{Absent, Drop, In, Make, With};
use crate::strategy::fill::Fixed::Int;
use crate::strategy::pod::TEMPLATE;
use crate::strategy::row::{Row, SPEC};
use crate::tree::{Tree, same};

/// ReplicationControllers.
pub(in crate::strategy) static CONTROLLER: Row = Row {
    fills: &[
        With(labels_from_template),
        Make("spec", &[Absent("replicas", Int(1)), Drop(&["minReadySeconds"]), In(&["template"], TEMPLATE)]),
    ],
    generation: SPEC,
    orphans: true,
    ..Row::PLAIN
};

/// PodTemplates.
pub(in crate::strategy) static POD_TEMPLATE: Row = Row {
    fills: &[Make("template", TEMPLATE)],
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
