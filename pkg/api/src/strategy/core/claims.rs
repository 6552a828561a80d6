//! Persistent volumes and claims.

use serde_json::{Value, json};

use crate::Object;
use crate::object::Meta;
use crate::strategy::Context;
use crate::strategy::fill::Fill::{self, Absent, Drop, Make, With, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::pod::NETWORK_VOLUME;
use crate::strategy::row::Row;
use crate::tree::Tree;

/// Of the `spec` of claims and of claim templates.
pub(in crate::strategy) const CLAIM_SPEC: &[Fill] =
    &[Absent("volumeMode", Text("Filesystem")), Drop(&["volumeName"]), With(join_sources)];

/// PersistentVolumes.
pub(in crate::strategy) static VOLUME: Row = Row {
    fills: &[
        Make(
            "spec",
            &[Zero("persistentVolumeReclaimPolicy", Text("Retain")), Absent("volumeMode", Text("Filesystem"))],
        ),
        Make("spec", NETWORK_VOLUME),
    ],
    prepare_create: |cx, volume| {
        volume.insert("status".into(), json!({"phase": "Pending", "lastPhaseTransitionTime": cx.now}));
    },
    prepare_update: note_transition,
    ..Row::PLAIN
};

/// PersistentVolumeClaims.
pub(in crate::strategy) static CLAIM: Row = Row {
    fills: &[Make("spec", CLAIM_SPEC)],
    prepare_create: |_, claim| {
        claim.insert("status".into(), json!({"phase": "Pending"}));
    },
    ..Row::PLAIN
};

/// When the phase last changed, unless the writer says so itself.
fn note_transition(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if cx.subresource != Some("status") {
        return;
    }
    const TIME: &str = "lastPhaseTransitionTime";
    let (before, after) = (old.map("status"), new.map("status"));
    let unsaid = !after.has(TIME);
    if before.text("phase") == after.text("phase") {
        if let (true, Some(time)) = (unsaid, before.get(TIME)) {
            new.section("status").insert(TIME.into(), time.clone());
        }
    } else if unsaid || before.text(TIME) == after.text(TIME) {
        new.section("status").insert(TIME.into(), cx.now.into());
    }
}

/// `dataSource` and `dataSourceRef` of the same namespace say the same: each is written with the value of the other.
fn join_sources(spec: &mut Object) {
    let (one, other) = (spec.value("dataSource").cloned(), spec.value("dataSourceRef").cloned());
    match (one, other) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".into(), source);
        }
        (None, Some(Value::Object(source))) if source.text("namespace").is_empty() => {
            spec.insert("dataSource".into(), Value::Object(source));
        }
        _ => {}
    }
}
