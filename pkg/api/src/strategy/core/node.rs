//! Nodes.

use serde_json::{Value, json};

use crate::Object;
use crate::object::Meta;
use crate::strategy::fill::Fill::{Drop, In, Make, With};
use crate::strategy::row::Row;
use crate::tree::Tree;

/// Nodes.
pub(in crate::strategy) static NODE: Row = Row {
    fills: &[
        Make("spec", &[Drop(&["unschedulable", "taints", "podCIDRs", "podCIDR", "providerID"]), With(join_cidrs)]),
        In(&["status"], &[With(allocatable)]),
    ],
    keeps_status: true,
    ..Row::PLAIN
};

/// `podCIDR` is the first of `podCIDRs`, whichever of the two was written.
fn join_cidrs(spec: &mut Object) {
    let first = spec.texts("podCIDRs").next().map(str::to_owned);
    match (spec.str_at(&["podCIDR"]), first.as_deref()) {
        ("", Some(first)) => spec.insert("podCIDR".into(), first.into()),
        ("", None) => None,
        (own, first) if first != Some(own) => {
            let list = json!([own]);
            spec.insert("podCIDRs".into(), list)
        }
        _ => None,
    };
}

/// What a kubelet does not reserve can be allocated.
fn allocatable(status: &mut Object) {
    if let (false, Some(capacity @ Value::Object(_))) = (status.has("allocatable"), status.get("capacity")) {
        let capacity = capacity.clone();
        status.insert("allocatable".into(), capacity);
    }
}
