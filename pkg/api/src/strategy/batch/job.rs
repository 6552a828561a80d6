//! Jobs.

use serde_json::Value;

use super::job_change::{check_change, check_status};
use super::job_check::check_job;
use crate::Object;
use crate::object::{Meta, object_in};
use crate::strategy::fill::Fill::{self, Absent, Each, In, Make, With, Zero};
use crate::strategy::fill::Fixed::{Flag, Text};
use crate::strategy::pod::{TEMPLATE, warn_of_template};
use crate::strategy::row::{Row, SPEC};
use crate::tree::Tree;

/// Of the `spec` of jobs and of job templates.
pub(super) const JOB_SPEC: &[Fill] = &[
    Make("template", TEMPLATE),
    In(&["podFailurePolicy"], &[Each(&["rules"], &[Each(&["onPodConditions"], &[Zero("status", Text("True"))])])]),
];

/// Jobs.
pub(in crate::strategy) static JOB: Row = Row {
    fills: &[
        With(labels_from_template),
        Make("spec", JOB_SPEC),
        Make(
            "spec",
            &[
                With(counts),
                Absent("completionMode", Text("NonIndexed")),
                Absent("suspend", Flag(false)),
                With(replacement),
                Absent("manualSelector", Flag(false)),
            ],
        ),
    ],
    check: check_job,
    check_update: check_change,
    check_status,
    generation: SPEC,
    orphans: true,
    warn: |new, old| warn_of_template(new, old, "spec.template"),
    prepare_create: |_, job| {
        if !job.is_true("spec.manualSelector") {
            select_by_uid(job);
        }
    },
    ..Row::PLAIN
};

fn labels_from_template(job: &mut Object) {
    if let (true, Some(labels)) = (job.map("metadata.labels").is_empty(), job.object("spec.template.metadata.labels")) {
        let labels = labels.clone();
        job.meta_mut().insert("labels".into(), labels.into());
    }
}

fn counts(spec: &mut Object) {
    if !spec.has("completions") && !spec.has("parallelism") {
        spec.insert("completions".into(), 1.into());
    }
    if !spec.has("parallelism") {
        spec.insert("parallelism".into(), 1.into());
    }
    if !spec.has("backoffLimit") {
        let limit = if spec.has("backoffLimitPerIndex") { i32::MAX } else { 6 };
        spec.insert("backoffLimit".into(), limit.into());
    }
}

fn replacement(spec: &mut Object) {
    if !spec.has("podReplacementPolicy") {
        let policy = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        spec.insert("podReplacementPolicy".into(), policy.into());
    }
}

/// The labels of a job's pods that name the job, old form first.
pub(super) const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
/// The labels of a job's pods that hold its UID, old form first.
pub(super) const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Pods of a job carry its UID, and it selects them by that. What the user set stays, for validation to refuse.
fn select_by_uid(job: &mut Object) {
    let (name, uid) = (Value::from(job.name()), Value::from(job.uid()));
    let spec = job.section("spec");
    let labels = spec.section("template").section("metadata").section("labels");
    for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        for key in keys {
            labels.entry(key).or_insert_with(|| value.clone());
        }
    }
    let selector = object_in(spec.entry("selector").or_insert(Value::Null));
    selector.section("matchLabels").entry(UID_LABELS[1]).or_insert(uid);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_selects_its_pods_by_its_uid() {
        let Value::Object(mut job) = json!({"metadata": {"name": "pi", "uid": "u1"}, "spec": {"template": {}}}) else {
            unreachable!()
        };
        select_by_uid(&mut job);
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}));
        assert_eq!(
            job["spec"]["template"]["metadata"]["labels"],
            json!({"job-name": "pi", "batch.kubernetes.io/job-name": "pi",
                   "controller-uid": "u1", "batch.kubernetes.io/controller-uid": "u1"})
        );
    }
}
