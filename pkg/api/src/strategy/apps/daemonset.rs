//! DaemonSets.

use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path};
use crate::object::{Meta, object_in};
use crate::strategy::fill::Fill::{self, Absent, Make, With, Zero};
use crate::strategy::fill::Fixed::{Int, Text};
use crate::strategy::fill::fill;
use crate::strategy::pod::{TEMPLATE, check_lasting, keep_selector, warn_of_template};
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check};
use crate::strategy::{Context, selector};
use crate::tree::{Tree, same};

use super::{at_most_all, int_or_percent, is_zero_share};

/// DaemonSets.
pub(in crate::strategy) static DAEMON_SET: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Make("updateStrategy", &[Zero("type", Text("RollingUpdate")), With(rolling_update)]),
            Absent("revisionHistoryLimit", Int(10)),
            Make("template", TEMPLATE),
        ],
    )],
    check: check_set,
    check_update: |_, errors, new, old| keep_selector(errors, new, old),
    check_status: |errors, new, _| {
        let status = At { path: Path::root("status"), object: new.map("status") };
        check(errors, &status, COUNTS);
    },
    generation: SPEC,
    warn: |new, old| warn_of_template(new, old, "spec.template"),
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
    let annotations = object_in(set.meta_mut().entry("annotations").or_insert(Value::Null));
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

fn template_generation(set: &Object) -> i64 {
    let text = set.map("metadata.annotations").get(TEMPLATE_GENERATION).and_then(Value::as_str);
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

const COUNTS: &[Rule] = &[
    Rule::NonNegative("currentNumberScheduled"),
    Rule::NonNegative("numberMisscheduled"),
    Rule::NonNegative("desiredNumberScheduled"),
    Rule::NonNegative("numberReady"),
    Rule::NonNegative("observedGeneration"),
    Rule::NonNegative("updatedNumberScheduled"),
    Rule::NonNegative("numberAvailable"),
    Rule::NonNegative("numberUnavailable"),
    Rule::NonNegative("collisionCount"),
];

fn check_set(_cx: &Context<'_>, errors: &mut Errors, set: &Object) {
    let spec = At { path: Path::root("spec"), object: set.map("spec") };
    if let Some(own) = spec.enter("selector") {
        selector::check(errors, &own);
        if selector::is_empty(own.object) {
            errors.invalid(own.path.clone(), own.as_value(), "empty selector is invalid for daemonset");
        }
    } else {
        // Upstream's nil selector selects nothing, not even the set's own pods.
        let labels = spec.object.map("template.metadata.labels").clone();
        errors.invalid(spec.path("template.metadata.labels"), labels, "`selector` does not match template `labels`");
    }
    check_lasting(errors, &spec, "DaemonSet", spec.object.map("selector"));
    check(errors, &spec, &[Rule::NonNegative("minReadySeconds"), Rule::NonNegative("revisionHistoryLimit")]);
    if let Some(strategy) = spec.enter("updateStrategy") {
        check_strategy(errors, &strategy);
    }
}

fn check_strategy(errors: &mut Errors, strategy: &At<'_>) {
    match (strategy.text("type"), strategy.enter("rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(strategy.path("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => {
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(errors, &rolling, field);
                at_most_all(errors, &rolling, field);
            }
            let none = |field: &str| is_zero_share(rolling.object.value(field));
            match (none("maxUnavailable"), none("maxSurge")) {
                (false, false) => {
                    let surge = rolling.object.value("maxSurge").cloned().unwrap_or_default();
                    errors.invalid(rolling.path("maxSurge"), surge, "may not be set when maxUnavailable is non-zero");
                }
                (true, true) => errors.required(rolling.path("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => errors.not_supported(strategy.path.clone(), strategy.as_value(), &["RollingUpdate", "OnDelete"]),
    }
}
