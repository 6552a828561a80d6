//! The node's own word on a pod that was bound to it: the scheduler may have decided on old facts, or been bypassed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod};
use knarr_api::quantity::Quantity;

use super::spec::{PodExt as _, Total, amount, milli};

/// Why a pod is refused: reason and message, of the event and of the status.
pub(crate) type Refusal = (String, String);

/// Judges a pod that this node has never run, beside the `others` that it runs.
///
/// # Errors
/// The refusal.
pub(crate) fn admit(
    pod: &Pod,
    node: &Node,
    allocatable: &BTreeMap<String, Quantity>,
    others: &[Arc<Pod>],
) -> Result<(), Refusal> {
    if !matches(pod, node) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(("NodeAffinity".into(), message.into()));
    }
    let refuse = |name: &str, requested: i64, used: i64, capacity: i64| {
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        (format!("OutOf{name}"), message)
    };
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if let Some(most) = allocatable.get("pods").map(|most| most.value()).filter(|most| count >= *most) {
        return Err(refuse("pods", 1, count, most));
    }
    for (name, read, whole) in [
        (
            "cpu",
            milli as fn(Option<&BTreeMap<_, _>>, &str) -> Option<i64>,
            Quantity::milli_value as fn(Quantity) -> i64,
        ),
        ("memory", amount, Quantity::value),
    ] {
        let Some(capacity) = allocatable.get(name).map(|amount| whole(*amount)) else { continue };
        let requested = Total::of(pod.spec(), name, read).request;
        let used: i64 = others.iter().map(|other| Total::of(other.spec(), name, read).request).sum();
        if requested > 0 && requested.saturating_add(used) > capacity {
            return Err(refuse(name, requested, used, capacity));
        }
    }
    Ok(())
}

/// `nodeSelector` and the required node affinity.
fn matches(pod: &Pod, node: &Node) -> bool {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let selected = pod.spec().node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.spec().affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    selected
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, labels, name)))
}

fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |key: &str| (key == "metadata.name").then_some(name);
    expressions.iter().all(|wanted| holds(wanted, labels.get(&wanted.key).map(String::as_str)))
        && fields.iter().all(|wanted| holds(wanted, field(&wanted.key)))
}

fn holds(wanted: &NodeSelectorRequirement, found: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let listed = found.is_some_and(|found| values.iter().any(|value| value == found));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => number(found).zip(bound).is_some_and(|(found, bound)| found > bound),
        "Lt" => number(found).zip(bound).is_some_and(|(found, bound)| found < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::{Value, json};

    fn judge(spec: Value, others: &[Arc<Pod>]) -> Result<(), Refusal> {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "size": "5"}}}))
                .unwrap();
        let allocatable = [("cpu", "2"), ("memory", "1Gi"), ("pods", "3")];
        let allocatable = allocatable.map(|(name, amount)| (name.to_owned(), amount.parse().unwrap())).into();
        admit(&pod(spec), &node, &allocatable, others)
    }

    #[test]
    fn selectors_and_affinities() {
        let affinity = |key: &str, operator: &str, values: &[&str]| {
            let expression = json!({"key": key, "operator": operator, "values": values});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
        };
        for (spec, fits) in [
            (json!({}), true),
            (json!({"nodeSelector": {"disk": "ssd"}}), true),
            (json!({"nodeSelector": {"disk": "hdd"}}), false),
            (affinity("disk", "In", &["ssd", "nvme"]), true),
            (affinity("disk", "NotIn", &["ssd"]), false),
            (affinity("gpu", "DoesNotExist", &[]), true),
            (affinity("size", "Gt", &["4"]), true),
            (affinity("size", "Lt", &["4"]), false),
        ] {
            assert_eq!(judge(spec.clone(), &[]).is_ok(), fits, "{spec}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wants = |cpu: &str| json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
        let other = Arc::new(pod(wants("1500m")));
        assert!(judge(wants("500m"), std::slice::from_ref(&other)).is_ok());
        let (reason, message) = judge(wants("501m"), std::slice::from_ref(&other)).unwrap_err();
        assert_eq!(reason, "OutOfcpu");
        let expect = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(message, expect);
        let others = [other.clone(), other.clone(), other];
        assert_eq!(judge(json!({}), &others).unwrap_err().0, "OutOfpods");
    }
}
