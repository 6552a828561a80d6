//! ReplicaSets.

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::Context;
use crate::strategy::fill::Fill::{Absent, Make};
use crate::strategy::fill::Fixed::Int;
use crate::strategy::pod::{TEMPLATE, check_lasting, check_selector, keep_selector, warn_of_template};
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check};
use crate::tree::Tree;

use super::check_counts;

/// ReplicaSets.
pub(in crate::strategy) static REPLICA_SET: Row = Row {
    fills: &[Make("spec", &[Absent("replicas", Int(1)), Make("template", TEMPLATE)])],
    check: check_set,
    check_update: |_, errors, new, old| keep_selector(errors, new, old),
    check_status: |errors, new, old| {
        check_counts(errors, new, old, &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"]);
    },
    generation: SPEC,
    warn: |new, old| warn_of_template(new, old, "spec.template"),
    ..Row::PLAIN
};

fn check_set(_cx: &Context<'_>, errors: &mut Errors, set: &Object) {
    let spec = At { path: Path::root("spec"), object: set.map("spec") };
    check(errors, &spec, &[Rule::NonNegative("replicas"), Rule::NonNegative("minReadySeconds")]);
    check_selector(errors, &spec, "replicaset");
    check_lasting(errors, &spec, "ReplicaSet", spec.object.map("selector"));
}
