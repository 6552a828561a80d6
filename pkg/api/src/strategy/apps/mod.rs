//! `apps`: controllers of pods.

mod daemonset;
mod deployment;
mod replicaset;
mod revision;
mod statefulset;

use serde_json::Value;

use super::forms;
use super::rules::{At, NEGATIVE, formed};
use crate::Object;
use crate::field::{Errors, Path};
use crate::tree::Tree;

pub(super) use daemonset::DAEMON_SET;
pub(super) use deployment::DEPLOYMENT;
pub(super) use replicaset::REPLICA_SET;
pub(super) use revision::CONTROLLER_REVISION;
pub(super) use statefulset::STATEFUL_SET;

/// A number that is not negative, or a percentage.
pub(super) fn int_or_percent(errors: &mut Errors, at: &At<'_>, field: &str) {
    match at.object.value(field) {
        Some(Value::String(text)) => formed(errors, &at.path(field), text, forms::percent),
        Some(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.invalid(at.path(field), number.clone(), NEGATIVE);
        }
        _ => {}
    }
}

fn percents(value: Option<&Value>) -> Option<i64> {
    value?.as_str()?.strip_suffix('%')?.parse().ok()
}

/// An error for a percentage above 100.
pub(super) fn at_most_all(errors: &mut Errors, at: &At<'_>, field: &str) {
    if percents(at.object.value(field)).is_some_and(|percents| percents > 100) {
        errors.invalid(at.path(field), at.text(field), "must not be greater than 100%");
    }
}

/// Whether a number or a percentage is none.
fn is_zero_share(value: Option<&Value>) -> bool {
    percents(value).or(value.and_then(Value::as_i64)).unwrap_or_default() == 0
}

/// Checks the counts of pods in a status: none is negative, and none but the last exceeds the first, the number of all.
pub(super) fn check_counts(errors: &mut Errors, new: &Object, old: &Object, counts: &[&str]) {
    let status = At { path: Path::root("status"), object: new.map("status") };
    let count = |field: &str| status.object.number(field);
    for field in counts.iter().chain(&["observedGeneration", "collisionCount"]) {
        if count(field) < 0 {
            errors.invalid(status.path(field), count(field), NEGATIVE);
        }
    }
    if let Some((all, parts)) = counts.split_first() {
        for field in parts.iter().filter(|field| **field != "unavailableReplicas") {
            if count(field) > count(all) {
                errors.invalid(status.path(field), count(field), format!("cannot be greater than status.{all}"));
            }
        }
    }
    if count("availableReplicas") > count("readyReplicas") && counts.contains(&"availableReplicas") {
        errors.invalid(
            status.path("availableReplicas"),
            count("availableReplicas"),
            "cannot be greater than readyReplicas",
        );
    }
    if count("collisionCount") < old.number("status.collisionCount") {
        errors.invalid(status.path("collisionCount"), count("collisionCount"), "cannot be decremented");
    }
}
