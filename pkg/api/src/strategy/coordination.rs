//! Kinds with little to them: leases, priority classes, runtime classes.

use super::fill::Fill::Absent;
use super::fill::Fixed::Text;
use super::row::Row;
use super::rules::{At, Rule, formed};
use super::{forms, selector};
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::tree::{Tree, same};

/// Leases.
pub(super) static LEASE: Row = Row {
    rules: &[Rule::In(
        "spec",
        &[Rule::With(check_duration), Rule::NonNegative("leaseTransitions"), Rule::With(check_strategy)],
    )],
    create_on_update: true,
    needs_revision: true,
    ..Row::PLAIN
};

fn check_duration(errors: &mut Errors, spec: &At<'_>) {
    if let Some(seconds) = spec.object.int("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.invalid(spec.path("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
}

fn check_strategy(errors: &mut Errors, spec: &At<'_>) {
    let strategy = spec.text("strategy");
    let path = spec.path("strategy").child("strategy");
    if strategy.contains('/') {
        formed(errors, &path, strategy, forms::qualified);
    } else if !matches!(strategy, "" | "OldestEmulationVersion") {
        errors.not_supported(path, strategy, &["OldestEmulationVersion"]);
    }
    if !spec.text("preferredHolder").is_empty() && strategy.is_empty() {
        errors.forbidden(spec.path("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}

/// LeaseCandidates.
pub(super) static LEASE_CANDIDATE: Row = Row {
    rules: &[Rule::In(
        "spec",
        &[Rule::Required("leaseName"), Rule::Required("binaryVersion"), Rule::Required("strategy")],
    )],
    immutable: &["spec.leaseName"],
    create_on_update: true,
    needs_revision: true,
    ..Row::PLAIN
};

/// The highest priority that users may give.
const HIGHEST: i64 = 1_000_000_000;

/// The classes of the system itself, and their values.
const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2 * HIGHEST + 1000), ("system-cluster-critical", 2 * HIGHEST)];

/// PriorityClasses.
pub(super) static PRIORITY_CLASS: Row = Row {
    fills: &[Absent("preemptionPolicy", Text("PreemptLowerPriority"))],
    rules: &[Rule::With(check_priority), Rule::OneOf("preemptionPolicy", &["PreemptLowerPriority", "Never"])],
    check_update: |_, errors, new, old| {
        if new.number("value") != old.number("value") {
            errors.forbidden(Path::root("value"), "may not be changed in an update.");
        }
    },
    immutable: &["preemptionPolicy"],
    // It starts at 1 and never moves: nothing of a priority class that matters can change.
    generation: Some(|_, _| false),
    ..Row::PLAIN
};

fn check_priority(errors: &mut Errors, class: &At<'_>) {
    let (name, value) = (class.object.name(), class.object.number("value"));
    if !name.starts_with("system-") {
        if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(Path::root("value"), detail);
        }
        return;
    }
    let fault = match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => format!("{name} is not a known system priority class"),
        Some((_, known)) if *known != value => format!("value of {name} PriorityClass must be {known}"),
        Some(_) if class.object.is_true("globalDefault") => {
            format!("globalDefault of {name} PriorityClass must be false")
        }
        Some(_) => return,
    };
    let reserved = "priority class names with 'system-' prefix are reserved for system use only";
    errors.forbidden(Path::root("metadata").child("name"), format!("{reserved}. error: {fault}"));
}

/// RuntimeClasses.
pub(super) static RUNTIME_CLASS: Row = Row {
    rules: &[Rule::With(|errors, at| formed(errors, &at.path("handler"), at.text("handler"), forms::label))],
    check: |_, errors, class| {
        let path = Path::root("scheduling").child("nodeSelector");
        selector::check_labels(errors, class.map("scheduling.nodeSelector"), &path);
        check_tolerations(errors, class);
    },
    immutable: &["handler"],
    create_on_update: true,
    needs_revision: true,
    ..Row::PLAIN
};

fn check_tolerations(errors: &mut Errors, class: &Object) {
    let Some(scheduling) = At::root(class).enter("scheduling") else { return };
    super::pod::check_tolerations(errors, &scheduling);
    let all: Vec<_> = scheduling.each("tolerations").collect();
    let alike = |one: &Object, other: &Object| {
        ["key", "operator", "value", "effect"].iter().all(|field| same(one.get(*field), other.get(*field)))
    };
    for (index, one) in all.iter().enumerate() {
        if all.iter().take(index).any(|other| alike(one.object, other.object)) {
            errors.duplicate(one.path.clone(), one.as_value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{Context, Strategy};
    use crate::user::UserInfo;
    use serde_json::{Value, json};

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        for (row, object, text) in [
            (&PRIORITY_CLASS, json!({"metadata": {"name": "high"}, "value": 1000}), ""),
            (
                &PRIORITY_CLASS,
                json!({"metadata": {"name": "high"}, "value": 1_000_000_001}),
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            ),
            (
                &PRIORITY_CLASS,
                json!({"metadata": {"name": "system-x"}, "value": 1}),
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
            ),
            (
                &LEASE,
                json!({"spec": {"leaseDurationSeconds": 0}}),
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            ),
        ] {
            let Value::Object(mut object) = object else { unreachable!() };
            row.default(&mut object);
            let errors = row.validate(&cx, &object);
            let said = if errors.is_empty() { String::new() } else { errors.to_string() };
            assert_eq!(said, text, "{object:?}");
        }
    }
}
