//! Validation of jobs: upstream's `pkg/apis/batch/validation`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::job::{NAME_LABELS, UID_LABELS};
use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::object::Meta;
use crate::strategy::Context;
use crate::strategy::networking::domain_path;
use crate::strategy::pod::check_template;
use crate::strategy::rules::{At, Rule, check, formed};
use crate::strategy::{forms, selector};
use crate::tree::Tree;

const MANY: i64 = 100_000;

/// Checks a job.
pub(super) fn check_job(_cx: &Context<'_>, errors: &mut Errors, job: &Object) {
    check_generated(errors, job);
    let spec = At { path: Path::root("spec"), object: job.map("spec") };
    check_spec(errors, &spec);
    match spec.enter("selector") {
        None => errors.required(spec.path("selector"), ""),
        Some(own) => {
            selector::check(errors, &own);
            let labels = spec.object.map("template.metadata.labels");
            if !selector::matches(own.object, labels) {
                let detail = "`selector` does not match template `labels`";
                errors.invalid(spec.path("template.metadata.labels"), labels.clone(), detail);
            }
        }
    }
    let completions = spec.object.number("completions");
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let last = format!("{}-{}", job.name(), completions - 1);
        if !forms::label(&last).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            errors.invalid(Path::root("metadata").child("name"), job.name(), detail);
        }
    }
}

/// Unless its author selects by hand, a job's pods carry its name and UID and it selects them by those.
fn check_generated(errors: &mut Errors, job: &Object) {
    if job.is_true("spec.manualSelector") || !job.has("spec.selector") {
        return;
    }
    let labels = job.map("spec.template.metadata.labels");
    let path = Path::root("spec").child("template").child("metadata").child("labels");
    let mut expected = Object::new();
    let values = UID_LABELS.map(|key| (key, job.uid())).into_iter().chain(NAME_LABELS.map(|key| (key, job.name())));
    for (key, value) in values {
        expected.insert(key.into(), value.into());
        match labels.get(key).and_then(Value::as_str) {
            None => errors.required(path.key(key), format!("must be '{value}'")),
            Some(own) if own != value => errors.invalid(path.key(key), labels.clone(), format!("must be '{value}'")),
            Some(_) => {}
        }
    }
    let own = job.map("spec.selector");
    if !selector::matches(own, &expected) {
        errors.invalid(Path::root("spec").child("selector"), own.clone(), "`selector` not auto-generated");
    }
}

/// Checks the spec of a job or of a job template, without its selector.
pub(super) fn check_spec(errors: &mut Errors, spec: &At<'_>) {
    check(
        errors,
        spec,
        &[
            Rule::NonNegative("parallelism"),
            Rule::NonNegative("completions"),
            Rule::NonNegative("activeDeadlineSeconds"),
            Rule::NonNegative("backoffLimit"),
            Rule::NonNegative("ttlSecondsAfterFinished"),
            Rule::NonNegative("backoffLimitPerIndex"),
            Rule::NonNegative("maxFailedIndexes"),
        ],
    );
    if spec.object.has("maxFailedIndexes") && !spec.object.has("backoffLimitPerIndex") {
        errors.required(spec.path("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(controller) = spec.object.value("managedBy").and_then(Value::as_str) {
        domain_path(errors, spec.path("managedBy"), controller);
        if controller.len() > 63 {
            errors.push(Reason::TooLong, spec.path("managedBy"), None, "may not be more than 63 bytes");
        }
    }
    check(errors, spec, &[Rule::OneOf("completionMode", &["NonIndexed", "Indexed"])]);
    let indexed = spec.text("completionMode") == "Indexed";
    if indexed {
        check_indexed(errors, spec);
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(limit) = spec.object.int(field) {
                errors.invalid(spec.path(field), limit, "requires indexed completion mode");
            }
        }
    }
    if let Some(policy) = spec.enter("podFailurePolicy") {
        check_failure_policy(errors, spec, &policy);
    }
    match spec.enter("successPolicy") {
        Some(policy) if indexed => check_success_policy(errors, spec, &policy),
        Some(policy) => errors.invalid(policy.path.clone(), policy.as_value(), "requires indexed completion mode"),
        None => {}
    }
    let replacement =
        if spec.object.has("podFailurePolicy") { &["Failed"][..] } else { &["Failed", "TerminatingOrFailed"] };
    let own = spec.text("podReplacementPolicy");
    if !own.is_empty() && !replacement.contains(&own) {
        errors.not_supported(spec.path("podReplacementPolicy"), own, replacement);
    }
    if let Some(template) = spec.enter("template") {
        check_template(errors, &template);
    }
    check_restart(errors, spec);
}

fn check_restart(errors: &mut Errors, spec: &At<'_>) {
    let path = spec.path("template.spec.restartPolicy");
    match spec.object.text("template.spec.restartPolicy") {
        "" | "Always" => errors.required(path, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if spec.object.has("podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(path, "OnFailure", detail);
        }
        "OnFailure" => {}
        other => errors.not_supported(path, other, &["OnFailure", "Never"]),
    }
}

fn check_indexed(errors: &mut Errors, spec: &At<'_>) {
    let number = |field: &str| spec.object.int(field);
    let mut at_most = |field: &str, most: i64, rest: &str| {
        if let Some(own) = number(field).filter(|own| *own > most) {
            errors.invalid(spec.path(field), own, format!("must be less than or equal to {rest}"));
        }
    };
    at_most("parallelism", MANY, "100000 when completion mode is Indexed");
    if let Some(completions) = number("completions") {
        at_most("maxFailedIndexes", completions, "completions");
    }
    at_most("maxFailedIndexes", MANY, "100000");
    let many = number("completions").is_some_and(|completions| completions > MANY);
    if many && number("backoffLimitPerIndex").is_some() {
        let rest = "10000 when completions are above 100000 and used with backoff limit per index";
        at_most("parallelism", 10_000, rest);
        at_most("maxFailedIndexes", 10_000, rest);
        if number("maxFailedIndexes").is_none() {
            errors.required(spec.path("maxFailedIndexes"), "must be specified when completions is above 100000");
        }
    }
    if number("completions").is_none() {
        errors.required(spec.path("completions"), "when completion mode is Indexed");
    }
}

fn too_many(errors: &mut Errors, path: Path, len: usize, most: usize) {
    if len > most {
        errors.push(Reason::TooMany, path, Some(len.into()), format!("must have at most {most} items"));
    }
}

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

fn check_failure_policy(errors: &mut Errors, spec: &At<'_>, policy: &At<'_>) {
    too_many(errors, policy.path("rules"), policy.object.list("rules").len(), 20);
    for rule in policy.each("rules") {
        match rule.text("action") {
            "" => {
                let detail = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
                errors.required(rule.path("action"), detail);
            }
            "FailIndex" if !spec.object.has("backoffLimitPerIndex") => {
                let detail = "requires the backoffLimitPerIndex to be set";
                errors.invalid(rule.path("action"), "FailIndex", detail);
            }
            _ => check(errors, &rule, &[Rule::OneOf("action", ACTIONS)]),
        }
        let codes = rule.enter("onExitCodes");
        let conditions = !rule.object.list("onPodConditions").is_empty();
        let detail = match (&codes, conditions) {
            (Some(_), true) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (None, false) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => "",
        };
        if let Some(codes) = codes {
            check_exit_codes(errors, spec, &codes);
        }
        too_many(errors, rule.path("onPodConditions"), rule.object.list("onPodConditions").len(), 20);
        for pattern in rule.each("onPodConditions") {
            formed(errors, &pattern.path("type"), pattern.text("type"), forms::qualified);
            match pattern.text("status") {
                "" => errors.required(pattern.path("status"), "valid values: [\"False\" \"True\" \"Unknown\"]"),
                _ => check(errors, &pattern, &[Rule::OneOf("status", &["False", "True", "Unknown"])]),
            }
        }
        if !detail.is_empty() {
            errors.push(Reason::Invalid, rule.path, None, detail);
        }
    }
}

fn check_exit_codes(errors: &mut Errors, spec: &At<'_>, codes: &At<'_>) {
    match codes.text("operator") {
        "" => errors.required(codes.path("operator"), "valid values: [\"In\" \"NotIn\"]"),
        _ => check(errors, codes, &[Rule::OneOf("operator", &["In", "NotIn"])]),
    }
    let name = codes.text("containerName");
    let mut containers = ["template.spec.containers", "template.spec.initContainers"]
        .into_iter()
        .flat_map(|list| spec.object.objects(list));
    if !name.is_empty() && !containers.any(|container| container.text("name") == name) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(codes.path("containerName"), name, detail);
    }
    let path = codes.path("values");
    let values: Vec<_> = codes.object.list("values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.invalid(path.clone(), values.clone(), "at least one value is required");
    }
    too_many(errors, path.clone(), values.len(), 255);
    let mut seen = BTreeSet::new();
    for (index, code) in values.iter().enumerate() {
        if codes.text("operator") == "In" && *code == 0 {
            errors.invalid(path.index(index), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(*code) {
            errors.duplicate(path.index(index), *code);
        }
    }
    if !values.is_sorted() {
        errors.invalid(path, values, "must be ordered");
    }
}

fn check_success_policy(errors: &mut Errors, spec: &At<'_>, policy: &At<'_>) {
    let rules = policy.object.list("rules").len();
    if rules == 0 {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.required(policy.path("rules"), detail);
    }
    too_many(errors, policy.path("rules"), rules, 20);
    let completions = spec.object.number("completions");
    for rule in policy.each("rules") {
        let (count, indexes) = (rule.object.int("succeededCount"), rule.object.value("succeededIndexes"));
        if count.is_none() && indexes.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.required(rule.path.clone(), detail);
        }
        let total = indexes.and_then(Value::as_str).map(|indexes| count_indexes(indexes, completions));
        if let Some(Err(fault)) = &total {
            let detail = format!("error parsing succeededIndexes: {fault}");
            errors.invalid(rule.path("succeededIndexes"), rule.text("succeededIndexes"), detail);
        }
        check(errors, &rule, &[Rule::NonNegative("succeededCount")]);
        if let Some(count) = count.filter(|count| *count > completions) {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(rule.path("succeededCount"), count, detail);
        }
        if let (Some(count), Some(Ok(total))) = (count, total)
            && count > total
        {
            let which = "the number of indexes in the specified succeededIndexes field";
            let detail = format!("must be less than or equal to {total} ({which})");
            errors.invalid(rule.path("succeededCount"), count, detail);
        }
    }
}

/// How many indexes a list such as `1,3-5` has; they must rise and lie below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, -1);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let parse = |part: &str| {
            part.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {part:?}"))
        };
        let (first, end) = match interval.split_once('-') {
            Some((first, end)) => (parse(first)?, parse(end)?),
            None => (parse(interval)?, parse(interval)?),
        };
        if first.max(end) >= completions {
            return Err(format!("too large index: {:?}", first.max(end).to_string()));
        }
        if first <= last || end < first {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = end;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::super::JOB;
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;
    use serde_json::json;

    fn job(spec: Value) -> Object {
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}});
        let Value::Object(mut job) = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": template}})
        else {
            unreachable!()
        };
        for (field, value) in spec.as_object().unwrap() {
            job["spec"][field] = value.clone();
        }
        JOB.default(&mut job);
        let user = UserInfo::default();
        JOB.prepare_for_create(&Context { user: &user, subresource: None, now: "" }, &mut job);
        job
    }

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        for (spec, text) in [
            (json!({}), ""),
            (json!({"parallelism": -1}), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
            (
                json!({"template": {"spec": {"containers": [{"name": "c", "image": "a"}]}}}),
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ),
            (
                json!({"completionMode": "Indexed", "parallelism": 1}),
                "spec.completions: Required value: when completion mode is Indexed",
            ),
            (
                json!({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 1]}}]}}),
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered",
            ),
            (
                json!({"managedBy": "x"}),
                "spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
        ] {
            let errors = JOB.validate(&cx, &job(spec.clone()));
            let said = if errors.is_empty() { String::new() } else { errors.to_string() };
            assert_eq!(said, text, "{spec}");
        }
    }

    #[test]
    fn templates_stay_but_for_directives_of_jobs_that_wait() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        for (suspend, allowed) in [(true, true), (false, false)] {
            let old = job(json!({ "suspend": suspend }));
            let mut new = old.clone();
            new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
            assert_eq!(JOB.validate_update(&cx, &new, &old).is_empty(), allowed, "{suspend}");
        }
    }
}
