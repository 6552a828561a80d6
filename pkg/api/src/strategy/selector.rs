//! Label selectors and maps of labels within specs.

use serde_json::Value;

use super::forms;
use super::rules::{At, formed};
use crate::Object;
use crate::field::{Errors, Path};
use crate::tree::Tree;

/// Errors of a map of labels: upstream's `ValidateLabels`.
pub(super) fn check_labels(errors: &mut Errors, labels: &Object, path: &Path) {
    for (key, value) in labels {
        formed(errors, path, key, forms::qualified);
        formed(errors, path, value.as_str().unwrap_or_default(), forms::label_value);
    }
}

/// Errors of a `meta/v1 LabelSelector`.
pub(super) fn check(errors: &mut Errors, at: &At<'_>) {
    check_labels(errors, at.object.map("matchLabels"), &at.path("matchLabels"));
    for rule in at.each("matchExpressions") {
        match rule.text("operator") {
            "In" | "NotIn" if rule.object.list("values").is_empty() => {
                errors.required(rule.path("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !rule.object.list("values").is_empty() => {
                errors.forbidden(
                    rule.path("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(rule.path("operator"), other, "not a valid selector operator"),
        }
        formed(errors, &rule.path("key"), rule.text("key"), forms::qualified);
        for (path, value) in rule.texts("values") {
            formed(errors, &path, value, forms::label_value);
        }
    }
}

/// Errors of the selector at a field, when there is one.
pub(super) fn check_in(errors: &mut Errors, at: &At<'_>, field: &str) {
    if let Some(selector) = at.enter(field) {
        check(errors, &selector);
    }
}

/// Whether a selector has no condition and so selects everything.
pub(super) fn is_empty(selector: &Object) -> bool {
    selector.map("matchLabels").is_empty() && selector.list("matchExpressions").is_empty()
}

/// Whether a selector selects what has these labels.
pub(super) fn matches(selector: &Object, labels: &Object) -> bool {
    let equal = selector.map("matchLabels").iter().all(|(key, value)| labels.get(key) == Some(value));
    let holds = |rule: &Object| {
        let own = labels.get(rule.text("key")).and_then(Value::as_str);
        let listed = own.is_some_and(|own| rule.texts("values").any(|value| value == own));
        match rule.text("operator") {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => own.is_some(),
            "DoesNotExist" => own.is_none(),
            _ => false,
        }
    };
    equal && selector.objects("matchExpressions").all(holds)
}
