//! What of a job may change, and what may be reported of it.

use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::object::Meta;
use crate::strategy::Context;
use crate::strategy::rules::{At, IMMUTABLE, Rule, check};
use crate::tree::{Tree, object_mut, same, same_objects};

/// What of a template may change before a suspended job's first start.
const DIRECTIVES: &[&str] = &["nodeSelector", "tolerations", "schedulingGates"];

/// Checks a change of a job.
pub(super) fn check_change(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    let path = Path::root("spec");
    let (after, before) = (new.map("spec"), old.map("spec"));
    let mut keep = |field: &str| {
        if !same(after.get(field), before.get(field)) {
            errors.invalid(path.child(field), after.get(field).cloned().unwrap_or_default(), IMMUTABLE);
        }
    };
    if after.text("completionMode") != "Indexed" {
        keep("completions");
    }
    keep("selector");
    let free = before.is_true("suspend") && !old.has("status.startTime");
    let mut allowed = before.map("template").clone();
    if free {
        open_directives(&mut allowed, after.map("template"));
    }
    if !same_objects(after.map("template"), &allowed) {
        keep("template");
    }
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        keep(field);
    }
    let indexed = after.text("completionMode") == "Indexed";
    let changed = !same(after.get("completions"), before.get("completions"));
    if indexed && changed && after.int("completions") != after.int("parallelism") {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.invalid(path.child("completions"), after.number("completions"), detail);
    }
}

fn open_directives(allowed: &mut Object, wanted: &Object) {
    let put = |object: &mut Object, field: &str, value: Option<&Value>| match value {
        Some(value) => drop(object.insert(field.into(), value.clone())),
        None => drop(object.remove(field)),
    };
    let metadata = wanted.map("metadata");
    for field in ["labels", "annotations"] {
        put(allowed.section("metadata"), field, metadata.get(field));
    }
    let spec = wanted.map("spec");
    for field in DIRECTIVES {
        put(allowed.section("spec"), field, spec.get(*field));
    }
    put(allowed.section("spec").section("affinity"), "nodeAffinity", spec.value("affinity.nodeAffinity"));
    let none = object_mut(allowed, "spec.affinity").is_some_and(|affinity| affinity.is_empty());
    if none && !spec.has("affinity") {
        allowed.section("spec").remove("affinity");
    }
}

/// Checks a report on a job.
pub(super) fn check_status(errors: &mut Errors, new: &Object, old: &Object) {
    let status = At { path: Path::root("status"), object: new.map("status") };
    check(
        errors,
        &status,
        &[
            Rule::NonNegative("active"),
            Rule::NonNegative("succeeded"),
            Rule::NonNegative("failed"),
            Rule::NonNegative("ready"),
            Rule::NonNegative("terminating"),
        ],
    );
    let holds = |job: &Object, kind: &str| {
        let mut conditions = job.objects("status.conditions");
        conditions.any(|condition| condition.text("type") == kind && condition.text("status") == "True")
    };
    let (complete, failed) = (holds(new, "Complete"), holds(new, "Failed"));
    let finished = complete || failed;
    let conditions = status.path("conditions");
    for (wrong, detail) in [
        (complete && failed, "cannot set Complete=True and Failed=true conditions"),
        (complete && holds(new, "FailureTarget"), "cannot set Complete=True and FailureTarget=true conditions"),
        (
            failed && !holds(old, "Failed") && !holds(new, "FailureTarget"),
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            complete && !holds(old, "Complete") && !holds(new, "SuccessCriteriaMet"),
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (holds(old, "Failed") && !failed, "cannot disable the terminal Failed=True condition"),
        (holds(old, "Complete") && !complete, "cannot disable the terminal Complete=True condition"),
    ] {
        if wrong {
            errors.push(Reason::Invalid, conditions.clone(), None, detail);
        }
    }
    if status.object.has("completionTime") && !complete {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.invalid(status.path("completionTime"), status.text("completionTime"), detail);
    }
    if complete && !status.object.has("completionTime") {
        errors.required(status.path("completionTime"), "completionTime is required for Complete jobs");
    }
    let active = status.object.number("active");
    if finished && active > 0 {
        errors.invalid(status.path("active"), active, "active>0 is invalid for finished job");
    }
    if finished && !status.object.has("startTime") {
        errors.required(status.path("startTime"), "startTime is required for finished job");
    }
    if status.object.number("ready") > active {
        let ready = status.object.number("ready");
        errors.invalid(status.path("ready"), ready, "cannot set more ready pods than active");
    }
    for field in ["failed", "succeeded"] {
        let own = status.object.number(field);
        if own < old.map("status").number(field) {
            errors.invalid(status.path(field), own, format!("cannot decrease the {field} counter"));
        }
    }
}
