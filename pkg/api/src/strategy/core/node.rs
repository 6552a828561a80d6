//! Nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::object::Meta;
use crate::strategy::fill::Fill::{Drop, In, Make, With};
use crate::strategy::forms;
use crate::strategy::pod::{EFFECTS, check_amount, quantities};
use crate::strategy::row::Row;
use crate::strategy::rules::{At, Rule, check, formed};
use crate::tree::{Tree, same};

/// Nodes.
pub(in crate::strategy) static NODE: Row = Row {
    fills: &[
        Make("spec", &[Drop(&["unschedulable", "taints", "podCIDRs", "podCIDR", "providerID"]), With(join_cidrs)]),
        In(&["status"], &[With(allocatable)]),
    ],
    keeps_status: true,
    check: |_, errors, node| {
        check_taints(errors, node);
        check_resources(errors, node);
        check_cidrs(errors, node);
    },
    check_update: |_, errors, new, old| check_changes(errors, new, old),
    check_status: |errors, new, old| {
        check_resources(errors, new);
        check_changes(errors, new, old);
    },
    warn: |node, _| warnings(node),
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

/// Upstream names the place `metadata.taints`.
fn check_taints(errors: &mut Errors, node: &Object) {
    let mut seen = BTreeSet::new();
    for (index, object) in node.objects("spec.taints").enumerate() {
        let taint = At { path: Path::root("metadata").child("taints").index(index), object };
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        formed(errors, &taint.path("key"), key, forms::qualified);
        let faults = forms::label_value(value);
        if !faults.is_empty() {
            errors.invalid(taint.path("value"), value, faults.join(";"));
        }
        check(errors, &taint, &[Rule::MustBe("effect", EFFECTS)]);
        if !seen.insert((effect, key)) {
            let detail = "taints must be unique by key and effect pair";
            errors.push(Reason::Duplicate, taint.path.clone(), Some(taint.as_value()), detail);
        }
    }
}

fn check_resources(errors: &mut Errors, node: &Object) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in quantities(node.map("status").map(list)) {
            check_amount(errors, &Path::root("status").child(list).child(name), name, amount);
        }
    }
}

fn check_cidrs(errors: &mut Errors, node: &Object) {
    let path = Path::root("spec").child("podCIDRs");
    let all: Vec<_> = node.texts("spec.podCIDRs").collect();
    for (index, cidr) in all.iter().enumerate() {
        formed(errors, &path.index(index), cidr, forms::cidr);
    }
    let family = |cidr: &&str| forms::sloppy_ip(cidr.split('/').next().unwrap_or_default()).map(|ip| ip.is_ipv4());
    let dual = matches!(all.as_slice(), [one, other] if family(one) != family(other));
    if all.len() > 1 && !dual {
        errors.invalid(path, all, "may specify no more than one CIDR for each IP family");
    }
}

fn check_changes(errors: &mut Errors, new: &Object, old: &Object) {
    let status = At { path: Path::root("status"), object: new.map("status") };
    let mut addresses: Vec<&Object> = Vec::new();
    for address in status.each("addresses") {
        if addresses.contains(&address.object) {
            errors.duplicate(address.path.clone(), address.as_value());
        }
        addresses.push(address.object);
    }
    let kept = |field: &str| {
        let (new, old) = (new.map("spec").get(field), old.map("spec").get(field));
        same(old, None) || same(new, old)
    };
    for (field, shown) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        if !kept(field) {
            let detail = format!("node updates may not change {shown} except from \"\" to valid");
            errors.forbidden(Path::root("spec").child(field), detail);
        }
    }
}

fn warnings(node: &Object) -> Vec<String> {
    let old = [
        ("spec.configSource", "the feature is no longer supported"),
        ("spec.externalID", "this field is deprecated, and is unused by Kubernetes"),
    ];
    old.iter().filter(|(path, _)| node.has(path)).map(|(path, text)| format!("{path}: {text}")).collect()
}
