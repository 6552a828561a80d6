//! What the control plane says about a node that is silent: no I/O.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The conditions that only the kubelet knows.
const OF_THE_KUBELET: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The status of a silent node: what the kubelet last said is not known to be true any more. `None` when that is said
/// already.
pub(super) fn silent(node: &Node, now: Timestamp) -> Option<NodeStatus> {
    let status = node.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.clone().unwrap_or_default();
    for kind in OF_THE_KUBELET {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(Time(now));
            }
            None => conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    let changed = status.conditions.as_ref() != Some(&conditions);
    changed.then_some(NodeStatus { conditions: Some(conditions), ..status })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::at;

    #[test]
    fn what_was_said_becomes_unknown_once() {
        let ready = NodeCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
        let network = NodeCondition { type_: "NetworkUnavailable".into(), ..ready.clone() };
        let status = NodeStatus { conditions: Some(vec![ready, network]), ..Default::default() };
        let mut node = Node { status: Some(status), ..Node::default() };
        let unknown = silent(&node, at(0)).unwrap();
        let said: Vec<_> = unknown
            .conditions
            .iter()
            .flatten()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref().unwrap_or_default()))
            .collect();
        let never = "NodeStatusNeverUpdated";
        let expected = [
            ("Ready", "Unknown", "NodeStatusUnknown"),
            ("NetworkUnavailable", "True", ""),
            ("MemoryPressure", "Unknown", never),
            ("DiskPressure", "Unknown", never),
            ("PIDPressure", "Unknown", never),
        ];
        assert_eq!(said, expected);
        node.status = Some(unknown);
        assert_eq!(silent(&node, at(9)), None);
    }
}
