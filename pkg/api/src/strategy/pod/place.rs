//! Validation of tolerations, spreading and scheduling gates.

use std::collections::BTreeSet;

use super::affinity::check_label_keys;
use crate::field::Errors;
use crate::strategy::rules::{At, Rule, check, formed};
use crate::strategy::{forms, selector};
use crate::tree::{Tree, same};

/// What a taint does.
pub(in crate::strategy) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks `spec.tolerations`.
pub(in crate::strategy) fn check_tolerations(errors: &mut Errors, spec: &At<'_>) {
    for one in spec.each("tolerations") {
        let (key, operator, value, effect) =
            (one.text("key"), one.text("operator"), one.text("value"), one.text("effect"));
        check(errors, &one, &[Rule::Formed("key", forms::qualified)]);
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(one.path("operator"), operator, detail);
        }
        if one.object.has("tolerationSeconds") && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(one.path("effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let faults = forms::label_value(value);
                if !faults.is_empty() {
                    errors.invalid(one.path("operator"), value, faults.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(one.path("operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            "Lt" | "Gt" => errors.not_supported(one.path("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]),
            _ => errors.not_supported(one.path("operator"), operator, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            check(errors, &one, &[Rule::OneOf("effect", EFFECTS)]);
        }
    }
}

/// Checks that tolerations were only added, or changed in their seconds.
pub(super) fn check_added_tolerations(errors: &mut Errors, new: &At<'_>, old: &At<'_>) {
    let alike = |one: &crate::Object, other: &crate::Object| {
        ["key", "operator", "value", "effect"].iter().all(|field| same(one.get(*field), other.get(*field)))
    };
    for old in old.object.objects("tolerations") {
        if !new.object.objects("tolerations").any(|new| alike(old, new)) {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            errors.forbidden(new.path("tolerations"), detail);
        }
    }
}

/// Checks `spec.schedulingGates`.
pub(super) fn check_gates(errors: &mut Errors, spec: &At<'_>) {
    let mut names = BTreeSet::new();
    for gate in spec.each("schedulingGates") {
        let name = gate.text("name");
        formed(errors, &gate.path, name, forms::qualified);
        if !names.insert(name) {
            errors.duplicate(gate.path, name);
        }
    }
}

/// Checks that scheduling gates were only taken away.
pub(super) fn check_removed_gates(errors: &mut Errors, new: &At<'_>, old: &At<'_>) {
    for gate in new.each("schedulingGates") {
        let name = gate.text("name");
        if !old.object.objects("schedulingGates").any(|old| old.text("name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(gate.path("name"), detail);
        }
    }
}

/// Checks `spec.topologySpreadConstraints`.
pub(super) fn check_spread(errors: &mut Errors, spec: &At<'_>) {
    let all: Vec<_> = spec.each("topologySpreadConstraints").collect();
    for (index, one) in all.iter().enumerate() {
        let (key, action) = (one.text("topologyKey"), one.text("whenUnsatisfiable"));
        check(errors, one, &[Rule::Positive("maxSkew")]);
        if key.is_empty() {
            errors.required(one.path("topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            errors.not_supported(one.path("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let mut later = all.iter().skip(index + 1);
        if later.any(|other| other.text("topologyKey") == key && other.text("whenUnsatisfiable") == action) {
            errors.duplicate(one.path("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        if one.object.has("minDomains") {
            check(errors, one, &[Rule::Positive("minDomains")]);
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(one.path("minDomains"), one.object.number("minDomains"), detail);
            }
        }
        check(
            errors,
            one,
            &[
                Rule::OneOf("nodeAffinityPolicy", &["Ignore", "Honor"]),
                Rule::OneOf("nodeTaintsPolicy", &["Ignore", "Honor"]),
            ],
        );
        check_label_keys(errors, one);
        selector::check_in(errors, one, "labelSelector");
    }
}
