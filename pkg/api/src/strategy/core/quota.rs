//! ResourceQuotas.

use std::collections::BTreeSet;

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::Context;
use crate::strategy::fill::Fill::Make;
use crate::strategy::pod::{check_amount, check_name, quantities};
use crate::strategy::row::Row;
use crate::strategy::rules::{At, IMMUTABLE};
use crate::tree::Tree;

/// ResourceQuotas.
pub(in crate::strategy) static QUOTA: Row = Row {
    fills: &[Make("spec", &[])],
    check: check_quota,
    check_update: keep_scopes,
    check_status: |errors, new, _| {
        for list in ["hard", "used"] {
            check_list(errors, &Path::root("status").child(list), new.map("status").map(list));
        }
    },
    ..Row::PLAIN
};

fn check_list(errors: &mut Errors, path: &Path, list: &Object) {
    for (name, amount) in quantities(list) {
        check_name(errors, &path.key(name), name);
        check_amount(errors, &path.key(name), name, amount);
    }
}

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// What pods compute with; quotas of most scopes count nothing else.
const COMPUTE: &[&str] = &[
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

fn scope_fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => COMPUTE.contains(&resource) || !SCOPES.contains(&scope),
    }
}

fn check_quota(_cx: &Context<'_>, errors: &mut Errors, quota: &Object) {
    let spec = At { path: Path::root("spec"), object: quota.map("spec") };
    check_list(errors, &spec.path("hard"), spec.object.map("hard"));
    let native = |name: &&str| !name.contains('/') && !name.starts_with("count/");
    let hard: Vec<_> = spec.object.map("hard").keys().map(String::as_str).filter(native).collect();
    let scopes: Vec<_> = spec.object.texts("scopes").collect();
    let mut wrong = |detail: &str| errors.invalid(spec.path("scopes"), spec.object.list("scopes").to_vec(), detail);
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            wrong("unsupported scope");
        }
        hard.iter()
            .filter(|name| !scope_fits(scope, name))
            .for_each(|_| wrong("unsupported scope applied to resource"));
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            wrong("conflicting scopes");
        }
    }
    if let Some(selector) = spec.enter("scopeSelector") {
        selector.object.objects("matchExpressions").for_each(|rule| check_rule(errors, &selector, rule, &hard));
    }
}

fn check_rule(errors: &mut Errors, selector: &At<'_>, rule: &Object, hard: &[&str]) {
    let path = selector.path("matchExpressions");
    let (scope, operator, values) = (rule.text("scopeName"), rule.text("operator"), rule.list("values"));
    if !SCOPES.contains(&scope) {
        errors.invalid(path.child("scopeName"), scope, "unsupported scope");
    }
    for _ in hard.iter().filter(|name| !scope_fits(scope, name)) {
        errors.invalid(path.clone(), selector.as_value(), "unsupported scope applied to resource");
    }
    let by_name = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if SCOPES.contains(&scope) && !by_name && operator != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                      ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid(path.child("operator"), operator, detail);
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(path.child("values"), detail);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(path.child("values"), values.to_vec(), detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.invalid(path.child("operator"), operator, "not a valid selector operator"),
    }
}

fn keep_scopes(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    let set = |quota: &Object| quota.texts("spec.scopes").map(str::to_owned).collect::<BTreeSet<_>>();
    if set(new) != set(old) {
        let scopes = new.list("spec.scopes").to_vec();
        errors.invalid(Path::root("spec").child("scopes"), scopes, IMMUTABLE);
    }
}
