//! Validation of pod templates, which all controllers of pods share.

use super::spec;
use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::rules::{At, IMMUTABLE, formed};
use crate::strategy::{forms, selector};
use crate::tree::{Tree, same};

/// Checks a `PodTemplateSpec`.
pub(in crate::strategy) fn check(errors: &mut Errors, template: &At<'_>) {
    selector::check_labels(errors, template.object.map("metadata.labels"), &template.path("labels"));
    for key in template.object.map("metadata.annotations").keys() {
        formed(errors, &template.path("annotations"), &key.to_lowercase(), forms::qualified);
    }
    let Some(own) = template.enter("spec") else { return };
    spec::check(errors, &own, None);
    if !own.object.list("ephemeralContainers").is_empty() {
        errors.forbidden(own.path("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Checks the template at `field` of a controller whose pods run for ever, and that a selector selects them.
pub(in crate::strategy) fn check_lasting(errors: &mut Errors, spec: &At<'_>, kind: &str, selects: &Object) {
    let Some(template) = spec.enter("template") else { return errors.required(spec.path("template"), "") };
    let labels = template.object.map("metadata.labels");
    if !selector::is_empty(selects) && !selector::matches(selects, labels) {
        let detail = "`selector` does not match template `labels`";
        errors.invalid(template.path("metadata.labels"), labels.clone(), detail);
    }
    check(errors, &template);
    let policy = template.object.text("spec.restartPolicy");
    if policy != "Always" {
        errors.not_supported(template.path("spec.restartPolicy"), policy, &["Always"]);
    }
    if template.object.has("spec.activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(template.path("spec.activeDeadlineSeconds"), detail);
    }
}

/// Checks the selector of a controller of a kind that must have one.
pub(in crate::strategy) fn check_selector(errors: &mut Errors, spec: &At<'_>, kind: &str) {
    let Some(own) = spec.enter("selector") else { return errors.required(spec.path("selector"), "") };
    selector::check(errors, &own);
    if selector::is_empty(own.object) {
        errors.invalid(own.path.clone(), own.as_value(), format!("empty selector is invalid for {kind}"));
    }
}

/// An error when the selector changed.
pub(in crate::strategy) fn keep_selector(errors: &mut Errors, new: &Object, old: &Object) {
    if !same(new.value("spec.selector"), old.value("spec.selector")) {
        let value = new.value("spec.selector").cloned().unwrap_or_default();
        errors.invalid(Path::root("spec").child("selector"), value, IMMUTABLE);
    }
}
