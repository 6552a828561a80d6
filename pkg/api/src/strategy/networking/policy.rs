//! NetworkPolicies.

use serde_json::json;

use crate::Object;
use crate::strategy::fill::Fill::{self, Absent, Each, Make, With};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::{Row, SPEC};
use crate::tree::Tree;

const PORTS: &[Fill] = &[Each(&["ports"], &[Absent("protocol", Text("TCP"))])];

/// NetworkPolicies.
pub(in crate::strategy) static NETWORK_POLICY: Row = Row {
    fills: &[Make("spec", &[With(policy_types), Each(&["ingress", "egress"], PORTS)])],
    generation: SPEC,
    ..Row::PLAIN
};

fn policy_types(spec: &mut Object) {
    if spec.list("policyTypes").is_empty() {
        let both = !spec.list("egress").is_empty();
        spec.insert("policyTypes".into(), if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
}
