//! Which taints follow from a node's conditions: no I/O.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, its status, and the taint that follows.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// A node's condition of a type.
pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The taints that the node should have; `None` when it has them. `evict` says whether pods may be driven from nodes that
/// are not ready: not when no node is ready at all, since there is no better place then and the fault may be here.
pub(super) fn wanted(node: &Node, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = needed(node, evict);
    let same = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let mut taints: Vec<_> = current
        .iter()
        .filter(|taint| !is_managed(taint) || wanted.iter().any(|need| same(taint, need)))
        .cloned()
        .collect();
    for need in &wanted {
        if !taints.iter().any(|taint| same(taint, need)) {
            let (key, effect) = *need;
            taints.push(Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(Time(now)) });
        }
    }
    (taints != current).then_some(taints)
}

fn needed(node: &Node, evict: bool) -> Vec<(&'static str, &'static str)> {
    let holds = |(kind, status, _): &&(&str, &str, &str)| condition(node, kind).is_some_and(|c| c.status == *status);
    let mut needed: Vec<_> = BY_CONDITION.iter().filter(holds).map(|(.., taint)| (*taint, NO_SCHEDULE)).collect();
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        needed.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    let down = needed.iter().find(|(key, _)| matches!(*key, NOT_READY | UNREACHABLE)).map(|(key, _)| *key);
    needed.extend(down.filter(|_| evict).map(|key| (key, NO_EXECUTE)));
    needed
}

/// Whether the taint is set and removed here.
fn is_managed(taint: &Taint) -> bool {
    let known = BY_CONDITION.iter().any(|(.., key)| taint.key == *key);
    match taint.effect.as_str() {
        NO_SCHEDULE => known || taint.key == UNSCHEDULABLE,
        NO_EXECUTE => matches!(taint.key.as_str(), NOT_READY | UNREACHABLE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::at;
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)]) -> Node {
        let condition = |(kind, status): &(&str, &str)| NodeCondition {
            type_: (*kind).into(),
            status: (*status).into(),
            ..Default::default()
        };
        let taint =
            |(key, effect): &(&str, &str)| Taint { key: (*key).into(), effect: (*effect).into(), ..Default::default() };
        Node {
            spec: Some(NodeSpec { taints: Some(taints.iter().map(taint).collect()), ..Default::default() }),
            status: Some(NodeStatus {
                conditions: Some(conditions.iter().map(condition).collect()),
                ..Default::default()
            }),
            ..Node::default()
        }
    }

    #[test]
    fn taints_follow_conditions() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let ready = [("Ready", "True")];
        let cases: [(Pairs<'_>, Pairs<'_>, bool, Option<Pairs<'_>>); 9] = [
            (&ready, &[], true, None),
            (&ready, &[("example.com/mine", "NoExecute")], true, None),
            (&ready, &[(NOT_READY, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)], true, Some(&[])),
            (&[], &[(NOT_READY, NO_SCHEDULE)], true, Some(&[])),
            (&[("Ready", "False")], &[], true, Some(&[(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)])),
            (&[("Ready", "False")], &[], false, Some(&[(NOT_READY, NO_SCHEDULE)])),
            (
                &[("Ready", "Unknown")],
                &[(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)],
                true,
                Some(&[(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]),
            ),
            (
                &[("Ready", "True"), ("DiskPressure", "True")],
                &[],
                true,
                Some(&[("node.kubernetes.io/disk-pressure", NO_SCHEDULE)]),
            ),
            (&ready, &[(UNSCHEDULABLE, NO_SCHEDULE)], true, Some(&[])),
        ];
        for (conditions, taints, evict, expected) in cases {
            let found = wanted(&node(conditions, taints), evict, at(0));
            let found = found.map(|found| found.into_iter().map(|t| (t.key, t.effect)).collect::<Vec<_>>());
            let expected =
                expected.map(|list| list.iter().map(|(k, e)| ((*k).to_owned(), (*e).to_owned())).collect::<Vec<_>>());
            assert_eq!(found, expected, "{conditions:?} {taints:?} {evict}");
        }
    }

    #[test]
    fn a_cordoned_node_is_tainted_once() {
        let mut node = node(&[("Ready", "True")], &[]);
        node.spec.as_mut().unwrap().unschedulable = Some(true);
        let taints = wanted(&node, true, at(0)).unwrap();
        assert_eq!(taints[0].key, UNSCHEDULABLE);
        node.spec.as_mut().unwrap().taints = Some(taints);
        assert_eq!(wanted(&node, true, at(9)), None);
    }
}
