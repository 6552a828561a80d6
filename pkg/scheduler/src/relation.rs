//! What a pod asks of its neighbours: pod affinity, anti-affinity and topology spread constraints, read once when the pod
//! arrives. `matchLabelKeys` need no mention: the API server has written them into the selectors.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>,
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use knarr_api::selector::LabelSelector;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::pod::PodInfo;

/// How much a required affinity of a pod that is there already attracts one that it selects (upstream's
/// `hardPodAffinityWeight`).
const REQUIRED: i64 = 1;

/// All relations of a pod.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// Every one must be satisfied.
    pub(crate) affinity: Vec<Term>,
    /// None may be.
    pub(crate) anti_affinity: Vec<Term>,
    /// With what the pod prefers; negative what it would rather avoid.
    pub(crate) preferred: Vec<(i64, Term)>,
    pub(crate) spread: Vec<Constraint>,
}

/// Pods, and how near is near.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) topology_key: String,
    selector: Selector,
    namespaces: Vec<String>,
    in_namespaces: Selector,
}

/// One of the pod's `topologySpreadConstraints`.
#[derive(Debug)]
pub(crate) struct Constraint {
    pub(crate) topology_key: String,
    pub(crate) selector: Selector,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: usize,
    /// `DoNotSchedule`; `ScheduleAnyway` is a wish.
    pub(crate) is_hard: bool,
    pub(crate) honors_affinity: bool,
    pub(crate) honors_taints: bool,
}

/// A label selector; none at all selects nothing, an empty one everything.
#[derive(Debug)]
pub(crate) struct Selector(Option<LabelSelector>);

impl Selector {
    fn new(selector: Option<&v1::LabelSelector>) -> Self {
        let object = selector.and_then(|selector| match serde_json::to_value(selector) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        });
        // The API server has refused operators that do not exist.
        Self(object.and_then(|object| LabelSelector::of(&object).ok()))
    }

    pub(crate) fn selects(&self, pod: &PodInfo) -> bool {
        let labels = pod.pod.metadata.labels.as_ref();
        self.matches(|key| labels?.get(key).map(String::as_str))
    }

    fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(label))
    }
}

impl Term {
    fn new(term: &PodAffinityTerm, own: &str) -> Self {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(own.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: Selector::new(term.label_selector.as_ref()),
            namespaces,
            in_namespaces: Selector::new(term.namespace_selector.as_ref()),
        }
    }

    /// Whether the term is about this pod.
    pub(crate) fn selects(&self, pod: &PodInfo, cluster: &Cluster) -> bool {
        let namespace = pod.key.namespace();
        let inside = self.namespaces.iter().any(|name| name == namespace)
            || self.in_namespaces.matches(|key| cluster.namespace_label(namespace, key));
        inside && self.selector.selects(pod)
    }
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint) -> Self {
        let honors = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
        Self {
            topology_key: constraint.topology_key.clone(),
            selector: Selector::new(constraint.label_selector.as_ref()),
            max_skew: constraint.max_skew.into(),
            min_domains: constraint.min_domains.and_then(|least| usize::try_from(least).ok()).unwrap_or(1),
            is_hard: constraint.when_unsatisfiable == "DoNotSchedule",
            honors_affinity: honors(&constraint.node_affinity_policy, "Honor"),
            honors_taints: honors(&constraint.node_taints_policy, "Ignore"),
        }
    }
}

impl Relations {
    /// The relations of a pod; `None` for most pods.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let own = pod.metadata.namespace.as_deref().unwrap_or_default();
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
        let anti = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let terms = |list: Option<&Vec<PodAffinityTerm>>| -> Vec<Term> {
            list.into_iter().flatten().map(|term| Term::new(term, own)).collect()
        };
        let weighted = |list: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<(i64, Term)> {
            let list = list.into_iter().flatten();
            list.map(|one| (sign * i64::from(one.weight), Term::new(&one.pod_affinity_term, own))).collect()
        };
        let mut preferred = weighted(
            affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref()),
            1,
        );
        preferred.extend(weighted(
            anti.and_then(|anti| anti.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        let relations = Self {
            affinity: terms(
                affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            anti_affinity: terms(
                anti.and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred,
            spread: spec.topology_spread_constraints.iter().flatten().map(Constraint::new).collect(),
        };
        (relations.has_terms() || !relations.spread.is_empty()).then_some(relations)
    }

    /// Whether there are affinity terms, which matter to the pods that come later, too.
    pub(crate) fn has_terms(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty())
    }

    /// How much a pod that is there draws others near, by which term.
    pub(crate) fn attraction(&self) -> impl Iterator<Item = (i64, &Term)> {
        let required = self.affinity.iter().map(|term| (REQUIRED, term));
        required.chain(self.preferred.iter().map(|(weight, term)| (*weight, term)))
    }
}
