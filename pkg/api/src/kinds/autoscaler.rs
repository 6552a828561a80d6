//! HorizontalPodAutoscalers are stored as `autoscaling/v2`. `autoscaling/v1` knows only a CPU utilization; the rest
//! travels in annotations, so that a client of v1 that reads and writes back loses nothing.
//! Upstream: `pkg/apis/autoscaling/v1/conversion.go`.
//!
//! ```text
//! v2: metrics: [cpu at 80 %, 100 requests/s per pod], behavior: {scaleUp: ...}
//! v1: targetCPUUtilizationPercentage: 80
//!     annotations: autoscaling.alpha.kubernetes.io/metrics:  [{"type":"Pods","pods":{"metricName":...}}]
//!                  autoscaling.alpha.kubernetes.io/behavior: {"ScaleUp":...}
//! ```

use serde_json::{Value, json};

use crate::Object;
use crate::kind::Convert;
use crate::object::{Meta, object_in};

pub(super) const CONVERT: Convert = Convert { from_stored, to_stored };

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// What v1 aims at when it names no metric at all.
const DEFAULT_CPU_UTILIZATION: i64 = 80;

/// One way to measure: its field, and which path of v2 is which field of v1.
type Source = (&'static str, &'static [(&'static [&'static str], &'static str)]);

const TARGETS: &[Source] = &[
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
];

const CURRENTS: &[Source] = &[
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
];

fn from_stored(autoscaler: &mut Object) {
    drop_annotations(autoscaler);
    let spec = autoscaler.section("spec");
    let metrics = take_array(spec, "metrics");
    let behavior = spec.remove("behavior");
    if let Some(utilization) = metrics.iter().find_map(cpu_target) {
        spec.insert("targetCPUUtilizationPercentage".into(), utilization.clone());
    }
    let others: Vec<Value> =
        metrics.iter().filter(|metric| cpu_target(metric).is_none()).map(|metric| to_v1(metric, TARGETS)).collect();

    let (mut current, mut conditions) = (Vec::new(), Vec::new());
    if let Some(Value::Object(status)) = autoscaler.get_mut("status") {
        current = take_array(status, "currentMetrics");
        conditions = take_array(status, "conditions");
        if let Some(utilization) = current.iter().rev().find_map(cpu_current) {
            status.insert("currentCPUUtilizationPercentage".into(), utilization.clone());
        }
    }
    let current = current.iter().map(|metric| to_v1(metric, CURRENTS)).collect();
    annotate(autoscaler, METRICS, others);
    annotate(autoscaler, CURRENT_METRICS, current);
    annotate(autoscaler, CONDITIONS, conditions);
    if let Some(behavior) = behavior {
        let text = rename_keys(behavior, str::to_ascii_uppercase).to_string();
        object_in(autoscaler.meta_mut().entry("annotations").or_insert(Value::Null))
            .insert(BEHAVIOR.into(), text.into());
    }
}

fn to_stored(autoscaler: &mut Object) {
    let mut metrics = read_annotation(autoscaler, METRICS, TARGETS).unwrap_or_default();
    let current = read_annotation(autoscaler, CURRENT_METRICS, CURRENTS);
    let conditions = read_annotation(autoscaler, CONDITIONS, &[]);
    let behavior = parse_annotation(autoscaler, BEHAVIOR).map(|text| rename_keys(text, str::to_ascii_lowercase));

    let spec = autoscaler.section("spec");
    let cpu = spec.remove("targetCPUUtilizationPercentage").filter(|value| !value.is_null());
    if let Some(utilization) = cpu.or_else(|| metrics.is_empty().then(|| DEFAULT_CPU_UTILIZATION.into())) {
        let target = json!({"type": "Utilization", "averageUtilization": utilization});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    spec.insert("metrics".into(), metrics.into());
    if let Some(Value::Object(behavior)) = behavior.filter(|behavior| *behavior != json!({})) {
        spec.insert("behavior".into(), behavior.into());
    }
    if let Some(Value::Object(status)) = autoscaler.get_mut("status") {
        let cpu = status.remove("currentCPUUtilizationPercentage").filter(|value| !value.is_null());
        let from_cpu = cpu.map(|utilization| {
            let current = json!({"averageUtilization": utilization});
            vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": current}})]
        });
        for (field, list) in [("currentMetrics", current.or(from_cpu)), ("conditions", conditions)] {
            if let Some(list) = list {
                status.insert(field.into(), list.into());
            }
        }
    }
    drop_annotations(autoscaler);
}

/// The utilization that v1 can express by itself.
fn cpu_target(metric: &Value) -> Option<&Value> {
    is_cpu(metric).then(|| metric.pointer("/resource/target/averageUtilization"))?
}

fn cpu_current(metric: &Value) -> Option<&Value> {
    is_cpu(metric).then(|| metric.pointer("/resource/current/averageUtilization"))?
}

fn is_cpu(metric: &Value) -> bool {
    let text = |path| metric.pointer(path).and_then(Value::as_str);
    text("/type") == Some("Resource") && text("/resource/name") == Some("cpu")
}

fn to_v1(metric: &Value, sources: &[Source]) -> Value {
    convert(metric, sources, |v2, fields| {
        let mut v1 = Object::new();
        for (path, name) in fields {
            if let Some(value) = v2.at(path) {
                v1.insert((*name).into(), value.clone());
            }
        }
        v1
    })
}

fn to_v2(metric: &Value, sources: &[Source]) -> Value {
    convert(metric, sources, |v1, fields| {
        let mut v2 = Object::new();
        for (path, name) in fields {
            let Some(value) = v1.get(*name).filter(|value| !value.is_null()) else { continue };
            match path {
                [section, field] => v2.section(section).insert((*field).into(), value.clone()),
                _ => v2.insert(path.concat(), value.clone()),
            };
        }
        if let Some(Value::Object(target)) = v2.get_mut("target") {
            let kind = match target {
                _ if target.contains_key("averageUtilization") => "Utilization",
                _ if target.contains_key("averageValue") => "AverageValue",
                _ => "Value",
            };
            target.insert("type".into(), kind.into());
        }
        v2
    })
}

/// Converts the one source that the metric has; everything else stays.
fn convert(
    metric: &Value,
    sources: &[Source],
    source: impl Fn(&Object, &[(&'static [&'static str], &'static str)]) -> Object,
) -> Value {
    let mut metric = metric.clone();
    for (name, fields) in sources {
        if let Some(Value::Object(old)) = metric.get_mut(name) {
            *old = source(old, fields);
        }
    }
    metric
}

fn annotate(autoscaler: &mut Object, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        let annotations = object_in(autoscaler.meta_mut().entry("annotations").or_insert(Value::Null));
        annotations.insert(name.into(), Value::Array(list).to_string().into());
    }
}

/// What an annotation says, if it can be understood: upstream ignores those that cannot.
fn parse_annotation(autoscaler: &Object, name: &str) -> Option<Value> {
    serde_json::from_str(autoscaler.str_at(&["metadata", "annotations", name])).ok()
}

fn read_annotation(autoscaler: &Object, name: &str, sources: &[Source]) -> Option<Vec<Value>> {
    let list = parse_annotation(autoscaler, name)?;
    Some(list.as_array()?.iter().map(|metric| to_v2(metric, sources)).collect())
}

fn drop_annotations(autoscaler: &mut Object) {
    let Some(Value::Object(annotations)) = autoscaler.meta_mut().get_mut("annotations") else { return };
    annotations.retain(|name, _| ![METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR].contains(&name.as_str()));
    if annotations.is_empty() {
        autoscaler.meta_mut().remove("annotations");
    }
}

/// Upstream writes its internal type into the behavior annotation, whose fields start with a capital letter.
fn rename_keys(value: Value, first: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let rename = |key: String| {
                let (head, rest) = key.split_at_checked(1).unwrap_or((&key, ""));
                first(head) + rest
            };
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (rename(key), rename_keys(value, first))).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| rename_keys(item, first)).collect(),
        other => other,
    }
}

fn take_array(object: &mut Object, field: &str) -> Vec<Value> {
    match object.remove(field) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn v1_keeps_in_annotations_what_it_cannot_say() {
        let v2 = object(json!({
            "metadata": {"name": "web"},
            "spec": {
                "maxReplicas": 5,
                "metrics": [
                    {"type": "Pods", "pods": {
                        "metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "100"},
                    }},
                    {"type": "Resource", "resource": {
                        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
                    }},
                ],
                "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}},
            },
            "status": {
                "currentReplicas": 1, "desiredReplicas": 1,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageUtilization": 30, "averageValue": "30m"},
                }}],
            },
        }));
        let mut v1 = v2.clone();
        from_stored(&mut v1);
        assert_eq!(v1["spec"], json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 60}));
        assert_eq!(
            v1["status"],
            json!({"currentReplicas": 1, "desiredReplicas": 1, "currentCPUUtilizationPercentage": 30})
        );
        let annotations = &v1["metadata"]["annotations"];
        assert_eq!(
            annotations[METRICS],
            r#"[{"pods":{"metricName":"requests","targetAverageValue":"100"},"type":"Pods"}]"#
        );
        assert_eq!(annotations[BEHAVIOR], r#"{"ScaleUp":{"Policies":[{"PeriodSeconds":60,"Type":"Pods","Value":4}]}}"#);
        let mut back = v1;
        to_stored(&mut back);
        assert_eq!(back, v2);
    }

    #[test]
    fn v1_without_metrics_means_80_percent() {
        let mut autoscaler = object(json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 2}}));
        to_stored(&mut autoscaler);
        assert_eq!(autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    }
}
