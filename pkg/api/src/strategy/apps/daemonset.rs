//! DaemonSets.

use crate::Object;
use crate::object::Meta;
use crate::strategy::Context;
use crate::strategy::fill::Fill::{self, Absent, Drop, Make, With, Zero};
use crate::strategy::fill::Fixed::{Int, Text};
use crate::strategy::fill::fill;
use crate::strategy::pod::TEMPLATE;
use crate::strategy::row::{Row, SPEC};
use crate::tree::{Tree, same};

/// DaemonSets.
pub(in crate::strategy) static DAEMON_SET: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Make("updateStrategy", &[Zero("type", Text("RollingUpdate")), With(rolling_update)]),
            Absent("revisionHistoryLimit", Int(10)),
            Drop(&["minReadySeconds"]),
            Make("template", TEMPLATE),
        ],
    )],
    generation: SPEC,
    prepare_create,
    prepare_update,
    ..Row::PLAIN
};

fn rolling_update(strategy: &mut Object) {
    const ROLLING: &[Fill] = &[Make("rollingUpdate", &[Absent("maxUnavailable", Int(1)), Absent("maxSurge", Int(0))])];
    if strategy.text("type") == "RollingUpdate" {
        fill(strategy, ROLLING);
    }
}

/// The deprecated count of changes of the template: upstream keeps it as an annotation of `apps/v1`.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn set_template_generation(set: &mut Object, generation: i64) {
    let annotations = crate::object::object_in(set.meta_mut().entry("annotations").or_insert(serde_json::Value::Null));
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

fn template_generation(set: &Object) -> i64 {
    let text = set.map("metadata.annotations").get(TEMPLATE_GENERATION).and_then(serde_json::Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn prepare_create(_cx: &Context<'_>, set: &mut Object) {
    set_template_generation(set, template_generation(set).max(1));
}

fn prepare_update(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if cx.subresource.is_none() {
        let changed = !same(new.value("spec.template"), old.value("spec.template"));
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }
}
