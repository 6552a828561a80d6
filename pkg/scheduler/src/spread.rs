//! `PodTopologySpread`: pods of one kind evenly over zones, nodes or whatever a label tells apart.

use std::collections::HashMap;

use crate::cluster::{Cluster, NodeInfo};
use crate::filter::Refusal;
use crate::pod::PodInfo;
use crate::relation::Constraint;
use crate::score::BEST;
use crate::{node_selector, taint};

/// A constraint, and how many of its pods are where.
#[derive(Debug)]
struct Counted<'a> {
    constraint: &'a Constraint,
    /// By the value of the topology key.
    pods: HashMap<&'a str, i64>,
}

/// The constraints of a pod that must hold.
#[derive(Debug, Default)]
pub(crate) struct Spread<'a> {
    hard: Vec<(Counted<'a>, i64)>,
}

impl<'a> Spread<'a> {
    pub(crate) fn new(pod: &'a PodInfo, cluster: &'a Cluster) -> Self {
        let counted = count(pod, cluster, true, cluster.nodes().iter());
        let hard = counted.into_iter().map(|counted| {
            let least = counted.pods.values().min().copied().unwrap_or_default();
            // Too few domains count as if there were an empty one.
            let least = if counted.pods.len() < counted.constraint.min_domains { 0 } else { least };
            let own = i64::from(counted.constraint.selector.selects(pod));
            let most = least + counted.constraint.max_skew - own;
            (counted, most)
        });
        Self { hard: hard.collect() }
    }

    /// Why the pod may not be on that node.
    pub(crate) fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        self.hard.iter().find_map(|(counted, most)| {
            let Some(value) = node.label(&counted.constraint.topology_key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Some(Refusal::hopeless(reason));
            };
            let there = counted.pods.get(value).copied().unwrap_or_default();
            (there > *most).then(|| Refusal::new("node(s) didn't match pod topology spread constraints"))
        })
    }
}

/// The scores of the candidates, 0 to [`BEST`], by the constraints that are wishes; `None` when there are none.
pub(crate) fn scores(pod: &PodInfo, cluster: &Cluster, candidates: &[&NodeInfo]) -> Option<Vec<i64>> {
    let counted = count(pod, cluster, false, candidates.iter().copied());
    if counted.is_empty() {
        return None;
    }
    let raw = candidates.iter().map(|node| {
        let parts = counted.iter().map(|Counted { constraint, pods }| {
            let there = pods.get(node.label(&constraint.topology_key)?).copied().unwrap_or_default();
            // The more domains, the more a pod in one of them weighs; a large skew waters it down.
            let weight = (pods.len() as f64 + 2.0).ln();
            Some(there as f64 * weight + (constraint.max_skew - 1) as f64)
        });
        // A node without one of the labels is not scored.
        let parts: Option<Vec<f64>> = parts.collect();
        parts.map(|parts| parts.iter().sum::<f64>().round() as i64)
    });
    let raw: Vec<Option<i64>> = raw.collect();
    let least = raw.iter().flatten().min().copied().unwrap_or_default();
    let most = raw.iter().flatten().max().copied().unwrap_or_default();
    let normalized = |raw: i64| if most == 0 { BEST } else { BEST * (most + least - raw) / most };
    Some(raw.into_iter().map(|raw| raw.map(normalized).unwrap_or_default()).collect())
}

/// Counts the pods of the constraints of one kind, over the nodes that count. The domains are those of `nodes`.
fn count<'a>(
    pod: &'a PodInfo,
    cluster: &'a Cluster,
    is_hard: bool,
    nodes: impl Iterator<Item = &'a NodeInfo>,
) -> Vec<Counted<'a>> {
    let relations = pod.relations.iter().flat_map(|relations| &relations.spread);
    let constraints: Vec<&Constraint> = relations.filter(|constraint| constraint.is_hard == is_hard).collect();
    let mut counted: Vec<_> =
        constraints.iter().map(|constraint| Counted { constraint, pods: HashMap::new() }).collect();
    if counted.is_empty() {
        return counted;
    }
    for node in nodes.filter(|node| has_all(node, &constraints)) {
        for Counted { constraint, pods } in &mut counted {
            if let Some(value) = node.label(&constraint.topology_key).filter(|_| includes(constraint, pod, node)) {
                pods.entry(value).or_default();
            }
        }
    }
    for (node, other) in cluster.placed() {
        let counts = other.key.namespace() == pod.key.namespace() && other.pod.metadata.deletion_timestamp.is_none();
        if !counts || !has_all(node, &constraints) {
            continue;
        }
        for Counted { constraint, pods } in &mut counted {
            if constraint.selector.selects(other)
                && includes(constraint, pod, node)
                && let Some(number) = node.label(&constraint.topology_key).and_then(|value| pods.get_mut(value))
            {
                *number += 1;
            }
        }
    }
    counted
}

fn has_all(node: &NodeInfo, constraints: &[&Constraint]) -> bool {
    constraints.iter().all(|constraint| node.label(&constraint.topology_key).is_some())
}

/// Whether the constraint looks at that node at all (KEP-3094).
fn includes(constraint: &Constraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    let tolerated = || node.taints().iter().filter(|t| taint::is_hard(t)).all(|t| taint::tolerated(tolerations, t));
    (!constraint.honors_affinity || node_selector::allows(pod.spec(), node))
        && (!constraint.honors_taints || tolerated())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, labelled, node, zones};
    use serde_json::{Value, json};

    const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
    const UNLABELLED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

    fn web(name: &str, spec: Value) -> PodInfo {
        labelled("default", name, json!({"app": "web"}), spec)
    }

    /// A pod that is to be spread over the zones with those of its kind.
    fn constrained(more: Value) -> Value {
        let mut constraint = json!({"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        constraint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"containers": [], "topologySpreadConstraints": [constraint]})
    }

    fn check(cluster: &Cluster, spec: Value, expect: [Option<&str>; 4]) {
        let pod = web("p", spec.clone());
        let spread = Spread::new(&pod, cluster);
        let said = ["a", "b", "c", "d"].map(|node| spread.refusal(cluster.node(node).unwrap()));
        let said = said.map(|refusal| refusal.map(|refusal| refusal.reasons.concat()));
        assert_eq!(said, expect.map(|reason| reason.map(str::to_owned)), "{spec}");
    }

    #[test]
    fn no_zone_gets_ahead_of_the_emptiest_by_more_than_the_skew() {
        let mut cluster = zones();
        let (no, unlabelled) = (Some(SKEWED), Some(UNLABELLED));
        check(&cluster, constrained(json!({})), [None, None, None, unlabelled]);
        cluster.place(web("one", json!({"containers": []})), "a");
        check(&cluster, constrained(json!({})), [no, no, None, unlabelled]);
        check(&cluster, constrained(json!({"maxSkew": 2})), [None, None, None, unlabelled]);
        check(&cluster, constrained(json!({"whenUnsatisfiable": "ScheduleAnyway"})), [None; 4]);
        // Neither those of another namespace nor those on nodes without the label count.
        cluster.place(labelled("other", "two", json!({"app": "web"}), json!({"containers": []})), "c");
        cluster.place(web("three", json!({"containers": []})), "d");
        check(&cluster, constrained(json!({})), [no, no, None, unlabelled]);
        cluster.place(web("four", json!({"containers": []})), "c");
        check(&cluster, constrained(json!({})), [None, None, None, unlabelled]);
        // Fewer zones than asked for: one more is taken to be empty.
        check(&cluster, constrained(json!({"minDomains": 3})), [no, no, no, unlabelled]);
    }

    #[test]
    fn pods_that_end_do_not_count() {
        let mut cluster = zones();
        let mut ending = web("one", json!({"containers": []}));
        std::sync::Arc::make_mut(&mut ending.pod).metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        cluster.place(ending, "a");
        check(&cluster, constrained(json!({})), [None, None, None, Some(UNLABELLED)]);
    }

    #[test]
    fn zones_that_are_closed_to_the_pod_count_as_the_policies_say() {
        let zone = |name: &str, zone: &str, spec: Value| node(name, json!({"zone": zone}), spec);
        let taint = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        let mut cluster = cluster(vec![
            zone("a", "east", json!({})),
            zone("b", "east", json!({})),
            zone("c", "west", taint),
            node("d", json!({}), json!({})),
        ]);
        cluster.place(web("one", json!({"containers": []})), "a");
        let (no, unlabelled) = (Some(SKEWED), Some(UNLABELLED));
        check(&cluster, constrained(json!({})), [no, no, None, unlabelled]);
        check(&cluster, constrained(json!({"nodeTaintsPolicy": "Honor"})), [None, None, None, unlabelled]);
        let mut selective = constrained(json!({}));
        selective["nodeSelector"] = json!({"zone": "east"});
        check(&cluster, selective.clone(), [None, None, None, unlabelled]);
        selective["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
        check(&cluster, selective, [no, no, None, unlabelled]);
    }

    #[test]
    fn a_wish_ranks_the_emptier_zone_first() {
        let mut cluster = zones();
        cluster.place(web("one", json!({"containers": []})), "a");
        cluster.place(web("two", json!({"containers": []})), "b");
        cluster.place(web("three", json!({"containers": []})), "c");
        let candidates: Vec<_> = cluster.nodes().iter().collect();
        let pod = web("p", constrained(json!({"whenUnsatisfiable": "ScheduleAnyway"})));
        let scores = scores(&pod, &cluster, &candidates).unwrap();
        assert_eq!((scores[0], scores[1], scores[3]), (33, 33, 0), "{scores:?}");
        assert_eq!(scores[2], BEST);
        assert!(super::scores(&web("p", json!({"containers": []})), &cluster, &candidates).is_none());
    }
}
