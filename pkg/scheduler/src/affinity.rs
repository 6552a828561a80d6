//! `InterPodAffinity`: what one pod's neighbours mean for each node. Counted once per decision over pairs of a topology key
//! and its value, so that asking a node costs a look at its own labels.

use std::collections::{HashMap, HashSet};

use crate::cluster::{Cluster, NodeInfo};
use crate::filter::Refusal;
use crate::pod::PodInfo;
use crate::relation::Term;

/// A topology key and a value of it: all nodes with that label.
type Domain<'a> = (&'a str, &'a str);

/// What the pods that have a node mean for one that waits.
#[derive(Debug, Default)]
pub(crate) struct Affinity<'a> {
    /// The pod's required affinity.
    required: &'a [Term],
    /// Where pods are that match all of it.
    near: HashSet<Domain<'a>>,
    /// The pod matches its own required affinity: the first of a series may go anywhere.
    is_its_own: bool,
    /// Where pods are that the pod must not meet.
    avoided: HashSet<Domain<'a>>,
    /// Where pods are that must not meet the pod.
    refused: HashSet<Domain<'a>>,
    /// Topology key, then value: how much the pod is drawn there.
    weights: HashMap<&'a str, HashMap<&'a str, i64>>,
}

impl<'a> Affinity<'a> {
    /// Pods without terms ask only the pods that have some; a pod with terms asks all.
    pub(crate) fn new(pod: &'a PodInfo, cluster: &'a Cluster) -> Self {
        let mut affinity = Self::default();
        for (node, relations) in cluster.related() {
            for term in relations.anti_affinity.iter().filter(|term| term.selects(pod, cluster)) {
                affinity.refused.extend(domain(term, node));
            }
            for (weight, term) in relations.attraction().filter(|(_, term)| term.selects(pod, cluster)) {
                affinity.weigh(term, node, weight);
            }
        }
        let Some(own) = pod.relations.as_deref().filter(|own| own.has_terms()) else { return affinity };
        affinity.required = &own.affinity;
        affinity.is_its_own = own.affinity.iter().all(|term| term.selects(pod, cluster));
        for (node, other) in cluster.placed() {
            if !own.affinity.is_empty() && own.affinity.iter().all(|term| term.selects(other, cluster)) {
                affinity.near.extend(own.affinity.iter().filter_map(|term| domain(term, node)));
            }
            for term in own.anti_affinity.iter().filter(|term| term.selects(other, cluster)) {
                affinity.avoided.extend(domain(term, node));
            }
            for (weight, term) in own.preferred.iter().filter(|(_, term)| term.selects(other, cluster)) {
                affinity.weigh(term, node, *weight);
            }
        }
        affinity
    }

    fn weigh(&mut self, term: &'a Term, node: &'a NodeInfo, weight: i64) {
        if let Some((key, value)) = domain(term, node) {
            *self.weights.entry(key).or_default().entry(value).or_default() += weight;
        }
    }

    /// Why the pod may not be on that node.
    pub(crate) fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        if !self.is_near(node) {
            return Some(Refusal::hopeless("node(s) didn't match pod affinity rules"));
        }
        let holds = |domains: &HashSet<Domain<'_>>| {
            domains.iter().any(|(key, value)| node.label(key).is_some_and(|own| own == *value))
        };
        if holds(&self.avoided) {
            return Some(Refusal::new("node(s) didn't match pod anti-affinity rules"));
        }
        holds(&self.refused).then(|| Refusal::new("node(s) didn't satisfy existing pods anti-affinity rules"))
    }

    fn is_near(&self, node: &NodeInfo) -> bool {
        let domains: Option<Vec<_>> = self
            .required
            .iter()
            .map(|term| node.label(&term.topology_key).map(|value| (&*term.topology_key, value)))
            .collect();
        let is_first = || self.near.is_empty() && self.is_its_own;
        domains.is_some_and(|domains| domains.iter().all(|domain| self.near.contains(domain)) || is_first())
    }

    /// How much the pod is drawn to that node; negative when it is driven away.
    pub(crate) fn weight(&self, node: &NodeInfo) -> i64 {
        let weights = self.weights.iter().filter_map(|(key, values)| values.get(node.label(key)?));
        weights.sum()
    }
}

fn domain<'a>(term: &'a Term, node: &'a NodeInfo) -> Option<Domain<'a>> {
    Some((&term.topology_key, node.label(&term.topology_key)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixtures::{labelled, zones};
    use serde_json::{Value, json};

    const AFFINITY: &str = "node(s) didn't match pod affinity rules";
    const ANTI: &str = "node(s) didn't match pod anti-affinity rules";
    const EXISTING: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

    /// A required term over `key`, about the pods with the label `app: web`.
    fn term(key: &str) -> Value {
        json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}})
    }

    fn requires(kind: &str, term: Value) -> Value {
        json!({"containers": [], "affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    }

    /// What each of the nodes a, b, c and d says to the pod.
    fn check(cluster: &Cluster, pod: &PodInfo, expect: [Option<&str>; 4]) {
        let affinity = Affinity::new(pod, cluster);
        let said = ["a", "b", "c", "d"].map(|node| affinity.refusal(cluster.node(node).unwrap()));
        let said = said.map(|refusal| refusal.map(|refusal| refusal.reasons.concat()));
        assert_eq!(said, expect.map(|reason| reason.map(str::to_owned)), "{:?}", pod.spec().affinity);
    }

    #[test]
    fn pods_come_near_what_they_need_and_keep_off_what_they_avoid() {
        let mut cluster = zones();
        cluster.place(labelled("default", "web", json!({"app": "web"}), json!({"containers": []})), "a");
        let pod = |spec: Value| labelled("default", "p", json!({"app": "client"}), spec);
        let (no, anti) = (Some(AFFINITY), Some(ANTI));
        check(&cluster, &pod(requires("podAffinity", term("kubernetes.io/hostname"))), [None, no, no, no]);
        check(&cluster, &pod(requires("podAffinity", term("zone"))), [None, None, no, no]);
        check(&cluster, &pod(requires("podAntiAffinity", term("kubernetes.io/hostname"))), [anti, None, None, None]);
        check(&cluster, &pod(requires("podAntiAffinity", term("zone"))), [anti, anti, None, None]);
        // No selector selects nothing; an empty one everything.
        check(&cluster, &pod(requires("podAntiAffinity", json!({"topologyKey": "zone"}))), [None; 4]);
        let all = json!({"topologyKey": "zone", "labelSelector": {}});
        check(&cluster, &pod(requires("podAntiAffinity", all)), [anti, anti, None, None]);
    }

    #[test]
    fn who_is_there_already_keeps_others_off() {
        let mut cluster = zones();
        let guard = requires("podAntiAffinity", term("zone"));
        cluster.place(labelled("default", "guard", json!({}), guard), "b");
        let pod = |labels: Value| labelled("default", "p", labels, json!({"containers": []}));
        check(&cluster, &pod(json!({"app": "web"})), [Some(EXISTING), Some(EXISTING), None, None]);
        check(&cluster, &pod(json!({"app": "other"})), [None; 4]);
        cluster.displace(&knarr_client::cache::Key::new("default", "guard"));
        check(&cluster, &pod(json!({"app": "web"})), [None; 4]);
    }

    #[test]
    fn the_first_of_a_series_that_wants_its_own_kind_may_go_where_the_label_is() {
        let spec = requires("podAffinity", term("zone"));
        let web = |name: &str| labelled("default", name, json!({"app": "web"}), spec.clone());
        let mut cluster = zones();
        check(&cluster, &web("first"), [None, None, None, Some(AFFINITY)]);
        cluster.place(web("first"), "c");
        check(&cluster, &web("second"), [Some(AFFINITY), Some(AFFINITY), None, Some(AFFINITY)]);
        // One that is not of its own kind waits for the first.
        let stranger = labelled("default", "stranger", json!({"app": "x"}), spec.clone());
        check(&zones(), &stranger, [Some(AFFINITY); 4]);
    }

    #[test]
    fn terms_are_about_the_pods_own_namespace_unless_they_name_others() {
        let mut cluster = zones();
        let namespace = |name: &str, team: &str| {
            let namespace = json!({"metadata": {"name": name, "labels": {"team": team}}});
            Arc::new(serde_json::from_value(namespace).unwrap())
        };
        cluster.set_namespace("shop", Some(namespace("shop", "red")));
        cluster.set_namespace("default", Some(namespace("default", "blue")));
        cluster.place(labelled("shop", "web", json!({"app": "web"}), json!({"containers": []})), "a");
        let near = |more: Value| {
            let mut term = term("zone");
            term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            labelled("default", "p", json!({}), requires("podAntiAffinity", term))
        };
        let refused = [Some(ANTI), Some(ANTI), None, None];
        check(&cluster, &near(json!({})), [None; 4]);
        check(&cluster, &near(json!({"namespaces": ["shop"]})), refused);
        check(&cluster, &near(json!({"namespaceSelector": {}})), refused);
        check(&cluster, &near(json!({"namespaceSelector": {"matchLabels": {"team": "red"}}})), refused);
        check(&cluster, &near(json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}})), [None; 4]);
    }

    #[test]
    fn wishes_weigh_and_what_is_there_attracts_its_kind() {
        let mut cluster = zones();
        let wish = |kind: &str, weight: i32| {
            let wish = json!([{"weight": weight, "podAffinityTerm": term("zone")}]);
            json!({"containers": [], "affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": wish}}})
        };
        cluster.place(labelled("default", "web", json!({"app": "web"}), wish("podAffinity", 7)), "a");
        cluster.place(labelled("default", "web2", json!({"app": "web"}), json!({"containers": []})), "b");
        let weights = |pod: &PodInfo| {
            let affinity = Affinity::new(pod, &cluster);
            ["a", "c", "d"].map(|node| affinity.weight(cluster.node(node).unwrap()))
        };
        let pod = |labels: Value, spec: Value| labelled("default", "p", labels, spec);
        assert_eq!(weights(&pod(json!({}), wish("podAffinity", 5))), [10, 0, 0], "5 for each of two");
        assert_eq!(weights(&pod(json!({}), wish("podAntiAffinity", 5))), [-10, 0, 0]);
        assert_eq!(weights(&pod(json!({"app": "web"}), json!({"containers": []}))), [7, 0, 0], "web draws its kind");
        cluster.place(labelled("default", "needy", json!({}), requires("podAffinity", term("zone"))), "c");
        let affinity_of_web = pod(json!({"app": "web"}), json!({"containers": []}));
        assert_eq!(Affinity::new(&affinity_of_web, &cluster).weight(cluster.node("c").unwrap()), 1);
    }
}
