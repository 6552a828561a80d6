//! HorizontalPodAutoscalers, as `autoscaling/v2` writes them.

use serde_json::{Value, json};

use super::fill::Fill::{Absent, In, Make, With};
use super::fill::Fixed::Int;
use super::forms;
use super::pod::quantity;
use super::row::Row;
use super::rules::{At, Rule, check};
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::object_in;
use crate::quantity::Quantity;
use crate::tree::Tree;

/// HorizontalPodAutoscalers.
pub(super) static AUTOSCALER: Row = Row {
    fills: &[Make(
        "spec",
        &[Absent("minReplicas", Int(1)), With(default_metric), In(&["behavior"], &[With(scaling_rules)])],
    )],
    rules: &[Rule::In(
        "spec",
        &[
            Rule::With(check_counts),
            Rule::With(|errors, spec| match spec.enter("scaleTargetRef") {
                None => errors.required(spec.path("scaleTargetRef").child("kind"), ""),
                Some(target) => check_target(errors, &target),
            }),
            Rule::Each("metrics", &[Rule::With(check_metric)]),
            Rule::In("behavior", &[Rule::In("scaleUp", SCALING), Rule::In("scaleDown", SCALING)]),
        ],
    )],
    check_status: |errors, new, _| {
        let status = At { path: Path::root("status"), object: new.map("status") };
        check(errors, &status, &[Rule::NonNegative("currentReplicas"), Rule::NonNegative("desiredReplicas")]);
    },
    ..Row::PLAIN
};

fn default_metric(spec: &mut Object) {
    if spec.list("metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        spec.insert("metrics".into(), metric);
    }
}

/// Once a user says anything about behavior, all of it is written out.
fn scaling_rules(behavior: &mut Object) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods, percent.clone()]});
    let down = json!({"selectPolicy": "Max", "policies": [percent]});
    for (field, rules) in [("scaleUp", up), ("scaleDown", down)] {
        let own = object_in(behavior.entry(field).or_insert(Value::Null));
        for (field, value) in rules.as_object().into_iter().flatten() {
            own.entry(field.clone()).or_insert_with(|| value.clone());
        }
    }
}

fn check_counts(errors: &mut Errors, spec: &At<'_>) {
    let (least, most) = (spec.object.int("minReplicas"), spec.object.number("maxReplicas"));
    if let Some(least) = least.filter(|least| *least < 1) {
        errors.invalid(spec.path("minReplicas"), least, "must be greater than or equal to 1");
    }
    if most < 1 {
        errors.invalid(spec.path("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        errors.invalid(spec.path("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
}

fn check_target(errors: &mut Errors, target: &At<'_>) {
    check(errors, target, &[Rule::Named("kind", forms::path_segment), Rule::Named("name", forms::path_segment)]);
}

const SCALING: &[Rule] = &[
    Rule::With(|errors, rules| {
        let window = rules.object.number("stabilizationWindowSeconds");
        let path = rules.path("stabilizationWindowSeconds");
        match window {
            ..0 => errors.invalid(path, window, "must be greater than or equal to zero"),
            0..=3600 => {}
            _ => errors.invalid(path, window, "must be less than or equal to 3600"),
        }
    }),
    Rule::OneOf("selectPolicy", &["Disabled", "Max", "Min"]),
    Rule::With(|errors, rules| {
        if rules.object.list("policies").is_empty() {
            errors.required(rules.path("policies"), "must specify at least one Policy");
        }
    }),
    Rule::Each(
        "policies",
        &[
            Rule::MustBe("type", &["Percent", "Pods"]),
            Rule::Positive("value"),
            Rule::Positive("periodSeconds"),
            Rule::With(|errors, policy| {
                let seconds = policy.object.number("periodSeconds");
                if seconds > 1800 {
                    errors.invalid(policy.path("periodSeconds"), seconds, "must be less than or equal to 1800");
                }
            }),
        ],
    ),
];

const METRICS: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn check_metric(errors: &mut Errors, metric: &At<'_>) {
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.required(metric.path("type"), "must specify a metric source type");
    }
    if !METRICS.contains(&kind) {
        return errors.not_supported(metric.path("type"), kind, METRICS);
    }
    let field = |kind: &str| {
        format!("{}{}", kind.get(..1).unwrap_or_default().to_lowercase(), kind.get(1..).unwrap_or_default())
    };
    for other in METRICS.iter().filter(|other| **other != kind && metric.object.has(&field(other))) {
        errors.forbidden(metric.path(&field(other)), "must populate the given metric source only");
    }
    let Some(source) = metric.enter(&field(kind)) else {
        let detail = "must populate information for the given metric source";
        return errors.required(metric.path(&field(kind)), detail);
    };
    match kind {
        "Resource" | "ContainerResource" => {
            if source.text("name").is_empty() {
                errors.required(source.path("name"), "must specify a resource name");
            }
            if kind == "ContainerResource" && source.text("container").is_empty() {
                errors.required(source.path("container"), "must specify a container");
            }
        }
        _ => {
            if let Some(target) = source.enter("describedObject") {
                check_target(errors, &target);
            }
            if source.object.text("metric.name").is_empty() {
                errors.required(source.path("metric").child("name"), "must specify a metric name");
            }
        }
    }
    check_metric_target(errors, kind, &source);
}

fn check_metric_target(errors: &mut Errors, kind: &str, source: &At<'_>) {
    let target = At { path: source.path("target"), object: source.object.map("target") };
    match target.text("type") {
        "" => errors.required(target.path("type"), "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        other => errors.invalid(target.path("type"), other, "must be either Utilization, Value, or AverageValue"),
    }
    for field in ["value", "averageValue"] {
        let not_positive = |amount: &Quantity| amount.is_zero() || amount.is_negative();
        if let Some(amount) = target.object.value(field).and_then(quantity).filter(not_positive) {
            errors.invalid(target.path(field), amount.to_string(), "must be positive");
        }
    }
    if let Some(percent) = target.object.int("averageUtilization").filter(|percent| *percent < 1) {
        errors.invalid(target.path("averageUtilization"), percent, "must be greater than 0");
    }
    let has = |field: &str| target.object.has(field);
    match kind {
        "Resource" | "ContainerResource" => match (has("averageUtilization"), has("averageValue")) {
            (false, false) => {
                let detail = "must set either a target raw value or a target utilization";
                errors.required(target.path("averageUtilization"), detail);
            }
            (true, true) => {
                let detail = "may not set both a target raw value and a target utilization";
                errors.forbidden(target.path("averageValue"), detail);
            }
            _ => {}
        },
        "Pods" if !has("averageValue") => {
            errors.required(target.path("averageValue"), "must specify a positive target averageValue");
        }
        "External" if !has("value") && !has("averageValue") => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.required(target.path("averageValue"), detail);
        }
        "External" if has("value") && has("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(target.path("value"), detail);
        }
        "Object" if !has("value") && !has("averageValue") => {
            errors.required(target.path("averageValue"), "must set either a target value or averageValue");
        }
        _ => {}
    }
}
