//! How good a node is for a pod. One function per upstream plugin, with upstream's weights.

use crate::cluster::NodeInfo;
use crate::pod::{CPU, MEMORY, PodInfo};
use crate::select::Neighbours;
use crate::{node_selector, spread, taint};

/// The best score of one plugin.
pub(crate) const BEST: i64 = 100;

/// A raw score, and how the raw scores of all candidates become 0 to [`BEST`].
struct Score {
    weight: i64,
    raw: fn(&Neighbours<'_>, &NodeInfo) -> i64,
    normalize: Normalize,
}

#[derive(Clone, Copy)]
enum Normalize {
    /// Raw scores are final.
    No,
    /// The highest raw score becomes the best.
    HighIsGood,
    /// The highest raw score becomes zero.
    LowIsGood,
    /// The lowest raw score becomes zero, the highest the best.
    Range,
}

/// Upstream's `default_plugins.go`.
const SCORES: &[Score] = &[
    Score { weight: 3, raw: intolerable_taints, normalize: Normalize::LowIsGood },
    Score { weight: 2, raw: preferred_affinity, normalize: Normalize::HighIsGood },
    Score { weight: 2, raw: neighbours_weight, normalize: Normalize::Range },
    Score { weight: 1, raw: least_allocated, normalize: Normalize::No },
    Score { weight: 1, raw: balanced_allocation, normalize: Normalize::No },
];

/// Of `PodTopologySpread`, which sees all candidates at once.
const SPREAD_WEIGHT: i64 = 2;

/// The sum of all weighted scores, per candidate.
pub(crate) fn totals(neighbours: &Neighbours<'_>, candidates: &[&NodeInfo]) -> Vec<i64> {
    let mut totals = vec![0; candidates.len()];
    for score in SCORES {
        let raw: Vec<i64> = candidates.iter().map(|node| (score.raw)(neighbours, node)).collect();
        let (lowest, highest) = (raw.iter().min().copied(), raw.iter().max().copied());
        let (lowest, highest) = (lowest.unwrap_or_default(), highest.unwrap_or_default());
        for (total, raw) in totals.iter_mut().zip(raw) {
            *total += score.weight * normalized(score.normalize, raw, lowest, highest);
        }
    }
    for (total, spread) in totals.iter_mut().zip(spread(neighbours, candidates)) {
        *total += SPREAD_WEIGHT * spread;
    }
    totals
}

/// `PodTopologySpread`: by the pod's own constraints; without any, by upstream's default, which spreads the pods of one
/// owner.
fn spread(neighbours: &Neighbours<'_>, candidates: &[&NodeInfo]) -> Vec<i64> {
    let has_own = neighbours.pod.relations.as_ref().is_some_and(|relations| !relations.spread.is_empty());
    if has_own {
        return spread::scores(neighbours.pod, neighbours.cluster, candidates)
            .unwrap_or_else(|| vec![0; candidates.len()]);
    }
    let siblings: Vec<i64> = candidates.iter().map(|node| siblings(neighbours.pod, node)).collect();
    let most = siblings.iter().max().copied().unwrap_or_default();
    siblings.into_iter().map(|raw| normalized(Normalize::LowIsGood, raw, 0, most)).collect()
}

fn normalized(normalize: Normalize, raw: i64, lowest: i64, highest: i64) -> i64 {
    match normalize {
        Normalize::Range if highest == lowest => 0,
        Normalize::Range => BEST * (raw - lowest) / (highest - lowest),
        Normalize::No => raw,
        Normalize::HighIsGood if highest == 0 => 0,
        Normalize::LowIsGood if highest == 0 => BEST,
        Normalize::HighIsGood => raw * BEST / highest,
        Normalize::LowIsGood => BEST - raw * BEST / highest,
    }
}

/// `TaintToleration`: how many `PreferNoSchedule` taints the pod does not tolerate.
fn intolerable_taints(neighbours: &Neighbours<'_>, node: &NodeInfo) -> i64 {
    let tolerations = neighbours.pod.spec().tolerations.as_deref().unwrap_or_default();
    let soft = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
    count(soft.filter(|taint| !taint::tolerated(tolerations, taint)).count())
}

/// `NodeAffinity`: the weights of the preferred terms that match.
fn preferred_affinity(neighbours: &Neighbours<'_>, node: &NodeInfo) -> i64 {
    node_selector::preference(neighbours.pod.spec(), node)
}

/// `InterPodAffinity`.
fn neighbours_weight(neighbours: &Neighbours<'_>, node: &NodeInfo) -> i64 {
    neighbours.affinity.weight(node)
}

/// How many pods of the same owner are there already.
fn siblings(pod: &PodInfo, node: &NodeInfo) -> i64 {
    count(pod.owner.as_ref().and_then(|owner| node.owners.get(owner)).copied().unwrap_or_default())
}

/// `NodeResourcesFit`, strategy `LeastAllocated`: the mean free share of CPU and memory with the pod on the node.
fn least_allocated(neighbours: &Neighbours<'_>, node: &NodeInfo) -> i64 {
    let pod = neighbours.pod;
    let free = |name: &str| {
        let (capacity, used) = (node.allocatable.get(name), node.weight.get(name) + pod.weight.get(name));
        if capacity <= 0 || used > capacity { 0 } else { (capacity - used) * BEST / capacity }
    };
    i64::midpoint(free(CPU), free(MEMORY))
}

/// `NodeResourcesBalancedAllocation`: the closer the shares of CPU and memory, the better.
fn balanced_allocation(neighbours: &Neighbours<'_>, node: &NodeInfo) -> i64 {
    let pod = neighbours.pod;
    let share = |name: &str| {
        let (capacity, used) = (node.allocatable.get(name), node.weight.get(name) + pod.weight.get(name));
        if capacity <= 0 { 1.0 } else { (used as f64 / capacity as f64).min(1.0) }
    };
    let deviation = (share(CPU) - share(MEMORY)).abs() / 2.0;
    ((1.0 - deviation) * BEST as f64) as i64
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, info, node};
    use serde_json::{Value, json};

    fn best(cluster: &crate::cluster::Cluster, pod: &PodInfo) -> String {
        let candidates: Vec<_> = cluster.nodes().iter().collect();
        let totals = totals(&Neighbours::new(pod, cluster), &candidates);
        let (best, _) = candidates.iter().zip(totals).max_by_key(|(_, total)| *total).unwrap();
        best.name().to_owned()
    }

    fn plain() -> Value {
        json!({"containers": [{"name": "c"}]})
    }

    #[test]
    fn an_empty_node_beats_a_busy_one() {
        let mut cluster = cluster(vec![node("a", json!({}), json!({})), node("b", json!({}), json!({}))]);
        cluster.place(
            info("x", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}]})),
            "a",
        );
        assert_eq!(best(&cluster, &info("p", plain())), "b");
    }

    #[test]
    fn a_preferred_node_beats_an_empty_one() {
        let mut cluster = cluster(vec![node("a", json!({"disk": "ssd"}), json!({})), node("b", json!({}), json!({}))]);
        cluster.place(info("x", plain()), "a");
        let mut spec = plain();
        spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10,
            "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]}});
        assert_eq!(best(&cluster, &info("p", spec)), "a");
    }

    #[test]
    fn a_soft_taint_is_avoided() {
        let taint = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
        let mut cluster = cluster(vec![node("a", json!({}), taint), node("b", json!({}), json!({}))]);
        cluster.place(info("x", plain()), "b");
        assert_eq!(best(&cluster, &info("p", plain())), "b");
    }

    #[test]
    fn pods_of_one_owner_spread() {
        let mut cluster = cluster(vec![node("a", json!({}), json!({})), node("b", json!({}), json!({}))]);
        let mut sibling = info("s", plain());
        sibling.owner = Some("rs".to_owned());
        let mut other = info("o", plain());
        other.owner = Some("another".to_owned());
        cluster.place(sibling, "a");
        cluster.place(other, "b");
        let mut pod = info("p", plain());
        pod.owner = Some("rs".to_owned());
        assert_eq!(best(&cluster, &pod), "b");
    }
}
