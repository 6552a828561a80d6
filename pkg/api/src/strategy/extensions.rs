//! CustomResourceDefinitions and APIServices.

use serde_json::{Value, json};

use super::Context;
use super::fill::Fill::{Absent, In, Make, With, Zero};
use super::fill::Fixed::{Int, Text};
use super::row::{METADATA, Row, SPEC};
use crate::Object;
use crate::object::{Meta, object_in};
use crate::tree::Tree;

/// CustomResourceDefinitions.
pub(super) static DEFINITION: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Make("names", &[With(names)]),
            Make("conversion", &[Zero("strategy", Text("None"))]),
            In(
                &["conversion"],
                &[In(&["webhook"], &[In(&["clientConfig"], &[In(&["service"], &[Absent("port", Int(443))])])])],
            ),
        ],
    )],
    generation: SPEC,
    needs_revision: true,
    prepare_create: |_, definition| note_stored_version(definition),
    prepare_update: |cx, definition, _| {
        if cx.subresource.is_none() {
            note_stored_version(definition);
        }
    },
    ..Row::PLAIN
};

fn names(names: &mut Object) {
    let kind = names.text("kind").to_owned();
    if names.text("singular").is_empty() && !kind.is_empty() {
        names.insert("singular".into(), kind.to_lowercase().into());
    }
    if names.text("listKind").is_empty() && !kind.is_empty() {
        names.insert("listKind".into(), format!("{kind}List").into());
    }
}

/// Every version that was ever the stored one is on record, for whoever migrates objects.
fn note_stored_version(definition: &mut Object) {
    let stored = definition.objects("spec.versions").find(|version| version.is_true("storage"));
    let Some(name) = stored.map(|version| Value::from(version.text("name"))) else { return };
    match definition.section("status").entry("storedVersions").or_insert_with(|| json!([])) {
        Value::Array(list) if list.contains(&name) => {}
        Value::Array(list) => list.push(name),
        other => *other = json!([name]),
    }
}

/// APIServices.
pub(super) static API_SERVICE: Row = Row {
    fills: &[Make("spec", &[In(&["service"], &[Absent("port", Int(443))])])],
    needs_revision: true,
    status_restores: METADATA,
    prepare_create: local_is_available,
    ..Row::PLAIN
};

/// Without a service, the API server answers itself.
fn local_is_available(cx: &Context<'_>, api: &mut Object) {
    if !api.has("spec.service") {
        let condition = json!([{
            "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": cx.now,
            "message": "Local APIServices are always available",
        }]);
        object_in(api.entry("status").or_insert(Value::Null)).insert("conditions".into(), condition);
    }
}
