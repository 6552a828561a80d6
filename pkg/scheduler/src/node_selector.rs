//! `nodeSelector` and node affinity
//! (<https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/>).

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use crate::cluster::NodeInfo;

/// Whether the pod may be on the node, as far as its `nodeSelector` and its required node affinity say.
pub(crate) fn allows(spec: &PodSpec, node: &NodeInfo) -> bool {
    let selector = spec.node_selector.iter().flatten();
    let mut labels = selector.into_iter();
    labels.all(|(key, value)| node.label(key) == Some(value))
        && required(spec).is_none_or(|required| matches(required, node))
}

fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// The sum of the weights of the preferred terms that match.
pub(crate) fn preference(spec: &PodSpec, node: &NodeInfo) -> i64 {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_deref());
    let matching = preferred.unwrap_or_default().iter().filter(|term| matches_term(&term.preference, node));
    matching.map(|term| i64::from(term.weight)).sum()
}

fn matches(selector: &NodeSelector, node: &NodeInfo) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node))
}

/// A term without requirements matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let (labels, fields) =
        (term.match_expressions.as_deref().unwrap_or_default(), term.match_fields.as_deref().unwrap_or_default());
    let field = |key: &str| (key == "metadata.name").then(|| node.name());
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|requirement| holds(requirement, node.label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|other| other == value));
    let compared = || -> Option<std::cmp::Ordering> {
        let bound: i64 = values.first()?.parse().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, info, node};
    use serde_json::{Value, json};

    fn check(term: Value, expect: bool) {
        let cluster = cluster(vec![node("a", json!({"disk": "ssd", "cores": "8"}), json!({}))]);
        let spec = json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term.clone()]}}}});
        let pod = info("p", spec);
        assert_eq!(allows(pod.spec(), cluster.node("a").unwrap()), expect, "{term}");
    }

    #[test]
    fn operators() {
        let label = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        check(label("disk", "In", json!(["ssd", "nvme"])), true);
        check(label("disk", "NotIn", json!(["ssd"])), false);
        check(label("gpu", "NotIn", json!(["x"])), true);
        check(label("disk", "Exists", json!(null)), true);
        check(label("gpu", "DoesNotExist", json!(null)), true);
        check(label("cores", "Gt", json!(["4"])), true);
        check(label("cores", "Lt", json!(["4"])), false);
        check(label("disk", "Gt", json!(["4"])), false);
        check(json!({}), false);
        check(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}), true);
    }

    #[test]
    fn node_selector_wants_every_label() {
        let cluster = cluster(vec![node("a", json!({"disk": "ssd"}), json!({}))]);
        for (selector, expect) in [(json!({"disk": "ssd"}), true), (json!({"disk": "ssd", "gpu": "yes"}), false)] {
            let pod = info("p", json!({"containers": [], "nodeSelector": selector}));
            assert_eq!(allows(pod.spec(), cluster.node("a").unwrap()), expect);
        }
    }
}
