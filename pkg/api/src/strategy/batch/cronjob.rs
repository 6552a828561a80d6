//! CronJobs.

use serde_json::Value;

use super::job::JOB_SPEC;
use super::job_check::check_spec;
use super::schedule;
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::strategy::fill::Fill::{Absent, Make, Zero};
use crate::strategy::fill::Fixed::{Flag, Int, Text};
use crate::strategy::pod::warn_of_template;
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check};
use crate::tree::{Tree, same};

/// CronJobs.
pub(in crate::strategy) static CRON_JOB: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Zero("concurrencyPolicy", Text("Allow")),
            Absent("suspend", Flag(false)),
            Absent("successfulJobsHistoryLimit", Int(3)),
            Absent("failedJobsHistoryLimit", Int(1)),
            Make("jobTemplate", &[Make("metadata", &[]), Make("spec", JOB_SPEC)]),
        ],
    )],
    check_create: |_, errors, job| {
        check_job(errors, job, None);
        if job.name().len() > 52 {
            // A job's name is that of its CronJob, a hyphen and ten digits.
            let path = Path::root("metadata").child("name");
            errors.invalid(path, job.name(), "must be no more than 52 characters");
        }
    },
    check_update: |_, errors, new, old| check_job(errors, new, Some(old)),
    generation: SPEC,
    warn: |new, old| warn_of_template(new, old, "spec.jobTemplate.spec.template"),
    ..Row::PLAIN
};

fn check_job(errors: &mut Errors, job: &Object, old: Option<&Object>) {
    let spec = At { path: Path::root("spec"), object: job.map("spec") };
    check_schedule(errors, &spec, old);
    check(errors, &spec, &[Rule::NonNegative("startingDeadlineSeconds")]);
    if old.is_none_or(|old| !same(old.value("spec.timeZone"), job.value("spec.timeZone"))) {
        check_zone(errors, &spec);
    }
    check(errors, &spec, &[Rule::MustBe("concurrencyPolicy", &["Allow", "Forbid", "Replace"])]);
    if let Some(template) = spec.enter("jobTemplate").and_then(|template| template.enter("spec")) {
        check_spec(errors, &template);
        if let Some(selector) = template.enter("selector") {
            errors.invalid(selector.path.clone(), selector.as_value(), "`selector` will be auto-generated");
        }
        if template.object.is_true("manualSelector") {
            errors.not_supported(template.path("manualSelector"), true, &["nil", "false"]);
        }
    }
    check(
        errors,
        &spec,
        &[Rule::NonNegative("successfulJobsHistoryLimit"), Rule::NonNegative("failedJobsHistoryLimit")],
    );
}

fn check_schedule(errors: &mut Errors, spec: &At<'_>, old: Option<&Object>) {
    let (path, own) = (spec.path("schedule"), spec.text("schedule"));
    if own.is_empty() {
        return errors.required(path, "");
    }
    if let Some(fault) = schedule::fault(own) {
        errors.invalid(path.clone(), own, fault);
    }
    if own.contains("TZ") {
        // What was stored before the field existed may stay.
        if !old.is_some_and(|old| old.text("spec.schedule").contains("TZ")) {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid(path, own, detail);
        } else if spec.object.has("timeZone") {
            errors.invalid(path, own, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
    }
}

fn check_zone(errors: &mut Errors, spec: &At<'_>) {
    let Some(zone) = spec.object.value("timeZone").and_then(Value::as_str) else { return };
    let path = spec.path("timeZone");
    if zone.is_empty() {
        return errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path.clone(), zone, detail);
    }
    if jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}
