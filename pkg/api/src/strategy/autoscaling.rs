//! HorizontalPodAutoscalers, as `autoscaling/v2` writes them.

use serde_json::{Value, json};

use super::fill::Fill::{Absent, In, Make, With};
use super::fill::Fixed::Int;
use super::row::Row;
use crate::Object;
use crate::object::object_in;
use crate::tree::Tree;

/// HorizontalPodAutoscalers.
pub(super) static AUTOSCALER: Row = Row {
    fills: &[Make(
        "spec",
        &[Absent("minReplicas", Int(1)), With(default_metric), In(&["behavior"], &[With(scaling_rules)])],
    )],
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
