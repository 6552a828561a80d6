//! The decision about one pod.

use std::collections::BTreeMap;

use rand::Rng;

use crate::affinity::Affinity;
use crate::cluster::{Cluster, NodeInfo};
use crate::filter::{self, Reason, Refusal};
use crate::pod::PodInfo;
use crate::score;
use crate::spread::Spread;

/// No fewer nodes are ranked when the cluster has them (upstream's `minFeasibleNodesToFind`).
const FEW: usize = 100;

/// Why no node fits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    nodes: usize,
    /// The nodes on which room could be made.
    hopeful: usize,
    reasons: BTreeMap<Reason, usize>,
}

impl std::fmt::Display for Unschedulable {
    /// Upstream's `FitError`, with its answer of the preemption that found no victims.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = self.nodes;
        if nodes == 0 {
            return out.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<_> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(out, "0/{nodes} nodes are available: {}.", reasons.join(", "))?;
        let mut parts = Vec::new();
        if self.hopeful > 0 {
            parts.push(format!("{} No preemption victims found for incoming pod", self.hopeful));
        }
        if self.hopeful < nodes {
            parts.push(format!("{} Preemption is not helpful for scheduling", nodes - self.hopeful));
        }
        write!(out, " preemption: 0/{nodes} nodes are available: {}.", parts.join(", "))
    }
}

/// A pod that waits among those that have a node.
#[derive(Debug)]
pub(crate) struct Neighbours<'a> {
    pub(crate) pod: &'a PodInfo,
    pub(crate) cluster: &'a Cluster,
    pub(crate) affinity: Affinity<'a>,
    spread: Spread<'a>,
}

impl<'a> Neighbours<'a> {
    pub(crate) fn new(pod: &'a PodInfo, cluster: &'a Cluster) -> Self {
        Self { pod, cluster, affinity: Affinity::new(pod, cluster), spread: Spread::new(pod, cluster) }
    }

    fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        self.spread.refusal(node).or_else(|| self.affinity.refusal(node))
    }
}

/// How many fitting nodes are enough to rank (upstream's `numFeasibleNodesToFind`): all of a small cluster, a shrinking
/// share of a large one.
fn enough(nodes: usize) -> usize {
    if nodes < FEW {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(FEW)
}

/// The best node for the pod. `start` says where the search begins, and is moved on so that all nodes get their turn.
pub(crate) fn select<'a>(pod: &PodInfo, cluster: &'a Cluster, start: &mut usize) -> Result<&'a str, Unschedulable> {
    let nodes = cluster.nodes();
    let (enough, mut seen, mut hopeful) = (enough(nodes.len()), 0, 0);
    let neighbours = Neighbours::new(pod, cluster);
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let from = if nodes.is_empty() { 0 } else { *start % nodes.len() };
    for node in nodes.iter().cycle().skip(from).take(nodes.len()) {
        seen += 1;
        match filter::refusal(pod, node).or_else(|| neighbours.refusal(node)) {
            None => fitting.push(node),
            Some(refusal) => {
                hopeful += usize::from(!refusal.is_hopeless);
                refusal.reasons.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
            }
        }
        if fitting.len() >= enough {
            break;
        }
    }
    *start = from + seen;
    best(&neighbours, &fitting).ok_or(Unschedulable { nodes: nodes.len(), hopeful, reasons })
}

/// The candidate of the highest score; any of those where several share it.
fn best<'a>(neighbours: &Neighbours<'_>, candidates: &[&'a NodeInfo]) -> Option<&'a str> {
    if let [only] = candidates {
        return Some(only.name());
    }
    let totals = score::totals(neighbours, candidates);
    let highest = totals.iter().max()?;
    let best: Vec<_> = candidates.iter().zip(&totals).filter(|(_, total)| *total == highest).collect();
    let (node, _) = best.get(rand::rng().random_range(0..best.len()))?;
    Some(node.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, info, node};
    use serde_json::json;

    #[test]
    fn the_message_is_upstreams() {
        let full = node("a", json!({}), json!({}));
        let tainted = node("b", json!({}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}));
        let cluster = cluster(vec![full, tainted]);
        let pod = info("p", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "64"}}}]}));
        let refused = select(&pod, &cluster, &mut 0).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes are \
             available: 2 Preemption is not helpful for scheduling."
        );
        let none = select(&pod, &Cluster::default(), &mut 0).unwrap_err();
        assert_eq!(none.to_string(), "no nodes available to schedule pods");
    }

    #[test]
    fn a_large_cluster_is_sampled_and_every_node_gets_its_turn() {
        let cluster = cluster((0..400).map(|number| node(&format!("n{number}"), json!({}), json!({}))).collect());
        let mut start = 0;
        let mut used = std::collections::HashSet::new();
        let pod = info("p", json!({"containers": [{"name": "c"}]}));
        for _ in 0..40 {
            let before = start;
            used.insert(select(&pod, &cluster, &mut start).unwrap().to_owned());
            assert!(start - before % 400 < 400, "not all nodes are looked at");
        }
        assert!(used.len() > 10);
    }

    #[test]
    fn enough_is_upstreams() {
        for (nodes, expect) in [(1, 1), (99, 99), (100, 100), (1000, 420), (5000, 500), (10_000, 500)] {
            assert_eq!(enough(nodes), expect, "{nodes}");
        }
    }
}
