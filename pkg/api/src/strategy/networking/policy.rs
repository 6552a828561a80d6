//! NetworkPolicies.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::fill::Fill::{self, Absent, Each, Make, With};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::pod::PROTOCOLS;
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check, formed, in_range};
use crate::strategy::{Context, forms, selector};
use crate::tree::Tree;

const PORTS: &[Fill] = &[Each(&["ports"], &[Absent("protocol", Text("TCP"))])];

/// NetworkPolicies.
pub(in crate::strategy) static NETWORK_POLICY: Row = Row {
    fills: &[Make("spec", &[With(policy_types), Each(&["ingress", "egress"], PORTS)])],
    check: check_policy,
    generation: SPEC,
    ..Row::PLAIN
};

fn policy_types(spec: &mut Object) {
    if spec.list("policyTypes").is_empty() {
        let both = !spec.list("egress").is_empty();
        spec.insert("policyTypes".into(), if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
}

fn check_policy(_cx: &Context<'_>, errors: &mut Errors, policy: &Object) {
    let spec = At { path: Path::root("spec"), object: policy.map("spec") };
    selector::check_in(errors, &spec, "podSelector");
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.each(direction) {
            rule.each("ports").for_each(|port| check_port(errors, &port));
            rule.each(peers).for_each(|peer| check_peer(errors, &peer));
        }
    }
    let types = spec.object.list("policyTypes");
    if types.len() > 2 {
        errors.invalid(spec.path("policyTypes"), types.to_vec(), "may not specify more than two policyTypes");
    }
    for (path, kind) in spec.texts("policyTypes").filter(|(_, kind)| !matches!(*kind, "Ingress" | "Egress")) {
        errors.not_supported(path, kind, &["Ingress", "Egress"]);
    }
}

fn check_port(errors: &mut Errors, port: &At<'_>) {
    check(errors, port, &[Rule::OneOf("protocol", PROTOCOLS)]);
    let end = port.object.int("endPort");
    match (port.object.value("port"), end) {
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                errors.invalid(port.path("endPort"), end, "may not be specified when `port` is non-numeric");
            }
            formed(errors, &port.path("port"), name, forms::port_name);
        }
        (Some(number), end) => {
            let number = number.as_i64().unwrap_or_default();
            in_range(errors, port.path("port"), number, 1, 65535);
            if let Some(end) = end {
                if end < number {
                    errors.invalid(port.path("endPort"), number, "must be greater than or equal to `port`");
                }
                in_range(errors, port.path("endPort"), end, 1, 65535);
            }
        }
        (None, Some(end)) => {
            errors.invalid(port.path("endPort"), end, "may not be specified when `port` is not specified");
        }
        (None, None) => {}
    }
}

fn check_peer(errors: &mut Errors, peer: &At<'_>) {
    selector::check_in(errors, peer, "podSelector");
    selector::check_in(errors, peer, "namespaceSelector");
    let selects = peer.object.has("podSelector") || peer.object.has("namespaceSelector");
    match peer.enter("ipBlock") {
        Some(block) => {
            check_block(errors, &block);
            if selects {
                errors.forbidden(peer.path.clone(), "may not specify both ipBlock and another peer");
            }
        }
        None if !selects => errors.required(peer.path.clone(), "must specify a peer"),
        None => {}
    }
}

fn check_block(errors: &mut Errors, block: &At<'_>) {
    let whole = block.text("cidr");
    if whole.is_empty() {
        errors.required(block.path("cidr"), "");
    }
    formed(errors, &block.path("cidr"), whole, forms::cidr);
    let Some(whole) = network(whole) else { return };
    for (path, text) in block.texts("except") {
        formed(errors, &path, text, forms::cidr);
        if network(text).is_some_and(|part| !contains(whole, part)) {
            errors.invalid(path, text, "must be a strict subset of `cidr`");
        }
    }
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    Some((forms::sloppy_ip(address)?, bits.parse().ok()?))
}

/// Whether the second network is a part of the first and smaller.
fn contains((whole, bits): (IpAddr, u32), (part, part_bits): (IpAddr, u32)) -> bool {
    let same = match (whole, part) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let shift = 32 - bits.min(32);
            (one.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or_default() == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let shift = 128 - bits.min(128);
            (one.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or_default() == 0
        }
        _ => false,
    };
    same && bits < part_bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_parts() {
        for (whole, part, inside) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("0.0.0.0/0", "11.0.0.0/16", true),
            ("fd00::/8", "fd01::/16", true),
            ("fd00::/8", "10.0.0.0/16", false),
        ] {
            assert_eq!(contains(network(whole).unwrap(), network(part).unwrap()), inside, "{whole} {part}");
        }
    }
}
