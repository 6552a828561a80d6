//! Validation of node selectors and affinity.

use std::collections::BTreeSet;

use crate::field::Errors;
use crate::strategy::rules::{At, Rule, check as check_rules, formed};
use crate::strategy::{forms, selector};
use crate::tree::Tree;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks `spec.affinity`.
pub(super) fn check(errors: &mut Errors, spec: &At<'_>) {
    let Some(affinity) = spec.enter("affinity") else { return };
    if let Some(node) = affinity.enter("nodeAffinity") {
        if let Some(terms) = node.enter(REQUIRED) {
            check_node_selector(errors, &terms, true);
        }
        for term in node.each(PREFERRED) {
            check_weight(errors, &term);
            if let Some(preference) = term.enter("preference") {
                check_node_term(errors, &preference, false);
            }
        }
    }
    for pods in ["podAffinity", "podAntiAffinity"].into_iter().filter_map(|field| affinity.enter(field)) {
        pods.each(REQUIRED).for_each(|term| check_pod_term(errors, &term));
        for weighted in pods.each(PREFERRED) {
            check_weight(errors, &weighted);
            if let Some(term) = weighted.enter("podAffinityTerm") {
                check_pod_term(errors, &term);
            }
        }
    }
}

fn check_weight(errors: &mut Errors, at: &At<'_>) {
    let weight = at.object.number("weight");
    if !(1..=100).contains(&weight) {
        errors.invalid(at.path("weight"), weight, "must be in the range 1-100");
    }
}

/// Checks a `NodeSelector`; label values are held to their form where asked.
pub(in crate::strategy) fn check_node_selector(errors: &mut Errors, at: &At<'_>, strict: bool) {
    if at.object.list("nodeSelectorTerms").is_empty() {
        return errors.required(at.path("nodeSelectorTerms"), "must have at least one node selector term");
    }
    at.each("nodeSelectorTerms").for_each(|term| check_node_term(errors, &term, strict));
}

fn check_node_term(errors: &mut Errors, term: &At<'_>, strict: bool) {
    for rule in term.each("matchExpressions") {
        let values = rule.object.list("values").len();
        match rule.text("operator") {
            "In" | "NotIn" if values == 0 => {
                errors.required(rule.path("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(rule.path("values"), detail);
            }
            "Gt" | "Lt" if values != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(rule.path("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(rule.path("operator"), other, "not a valid selector operator"),
        }
        formed(errors, &rule.path("key"), rule.text("key"), forms::qualified);
        for (path, value) in rule.texts("values").filter(|_| strict) {
            formed(errors, &path, value, forms::label_value);
        }
    }
    for rule in term.each("matchFields") {
        match rule.text("operator") {
            "In" | "NotIn" if rule.object.list("values").len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(rule.path("values"), detail);
            }
            "In" | "NotIn" => {}
            other => errors.invalid(rule.path("operator"), other, "not a valid selector operator"),
        }
        if rule.text("key") != "metadata.name" {
            errors.invalid(rule.path("key"), rule.text("key"), "not a valid field selector key");
        } else {
            rule.texts("values").for_each(|(path, value)| formed(errors, &path, value, forms::subdomain));
        }
    }
}

fn check_pod_term(errors: &mut Errors, term: &At<'_>) {
    selector::check_in(errors, term, "labelSelector");
    selector::check_in(errors, term, "namespaceSelector");
    for name in term.object.texts("namespaces") {
        formed(errors, &term.path("namespace"), name, forms::label);
    }
    check_label_keys(errors, term);
    match term.text("topologyKey") {
        "" => errors.required(term.path("topologyKey"), "can not be empty"),
        _ => check_rules(errors, term, &[Rule::Formed("topologyKey", forms::qualified)]),
    }
}

/// Checks `matchLabelKeys` and `mismatchLabelKeys`: upstream merges them into the selector, so both need one.
pub(super) fn check_label_keys(errors: &mut Errors, term: &At<'_>) {
    let selector = term.object.object("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        if !term.object.list(field).is_empty() && selector.is_none() {
            errors.forbidden(term.path(field), "must not be specified when labelSelector is not set");
        } else {
            term.texts(field).for_each(|(path, key)| formed(errors, &path, key, forms::qualified));
        }
    }
    let keys: Vec<_> = term.object.texts("matchLabelKeys").collect();
    if let Some(selector) = selector {
        let mut seen: BTreeSet<_> = selector.map("matchLabels").keys().map(String::as_str).collect();
        for key in selector.objects("matchExpressions").map(|rule| rule.text("key")) {
            if let (Some(index), true) = (keys.iter().position(|own| *own == key), seen.contains(key)) {
                errors.invalid(term.path.index(index), key, "exists in both matchLabelKeys and labelSelector");
            }
            seen.insert(key);
        }
    }
    for (path, key) in term.texts("matchLabelKeys") {
        if term.object.texts("mismatchLabelKeys").any(|other| other == key) {
            errors.invalid(path, key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}
