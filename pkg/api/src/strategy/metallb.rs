//! `metallb.io`, with the rules of MetalLB's own webhooks.
//! <https://metallb.universe.tf/apis/>

use std::net::IpAddr;

use super::fill::Fill::{Absent, Make};
use super::fill::Fixed::Flag;
use super::row::{Row, SPEC};
use super::rules::{At, Rule};
use super::selector;
use crate::field::Errors;
use crate::tree::Tree;

/// IPAddressPools. That pools do not overlap is checked where all of them are known.
pub(super) static ADDRESS_POOL: Row = Row {
    fills: &[Make("spec", &[Absent("autoAssign", Flag(true)), Absent("avoidBuggyIPs", Flag(false))])],
    rules: &[Rule::In("spec", &[Rule::Required("addresses"), Rule::With(check_ranges), Rule::With(check_allocation)])],
    generation: SPEC,
    needs_revision: true,
    ..Row::PLAIN
};

/// L2Advertisements.
pub(super) static L2_ADVERTISEMENT: Row = Row {
    fills: &[Make("spec", &[])],
    rules: &[Rule::In(
        "spec",
        &[
            Rule::With(|errors, spec| {
                for field in ["ipAddressPoolSelectors", "nodeSelectors"] {
                    spec.each(field).for_each(|own| selector::check(errors, &own));
                }
            }),
            Rule::With(check_unique_pools),
        ],
    )],
    generation: SPEC,
    needs_revision: true,
    ..Row::PLAIN
};

fn check_ranges(errors: &mut Errors, spec: &At<'_>) {
    for (path, text) in spec.texts("addresses") {
        if let Some(fault) = range_fault(text) {
            errors.invalid(path, text, fault);
        }
    }
}

/// What is wrong with a range: CIDR notation, or the first and the last address.
fn range_fault(text: &str) -> Option<String> {
    let Some((start, end)) = text.split_once('-') else {
        let (address, bits) = text.split_once('/').unwrap_or_default();
        let most = address.parse::<IpAddr>().map(|address| if address.is_ipv4() { 32 } else { 128 });
        let fits = most.is_ok_and(|most| bits.parse::<u8>().is_ok_and(|bits| bits <= most));
        return (!fits).then(|| format!("invalid CIDR {text:?}"));
    };
    let fault = match (start.trim().parse::<IpAddr>(), end.trim().parse::<IpAddr>()) {
        (Err(_), _) => format!("invalid start IP {start:?}"),
        (_, Err(_)) => format!("invalid end IP {end:?}"),
        (Ok(first), Ok(last)) if first.is_ipv4() != last.is_ipv4() => "the addresses are of two families".into(),
        (Ok(first), Ok(last)) if first > last => format!("start IP {start:?} is after the end IP {end:?}"),
        _ => return None,
    };
    Some(format!("invalid IP range {text:?}: {fault}"))
}

fn check_allocation(errors: &mut Errors, spec: &At<'_>) {
    let Some(allocation) = spec.enter("serviceAllocation") else { return };
    for field in ["namespaceSelectors", "serviceSelectors"] {
        allocation.each(field).for_each(|own| selector::check(errors, &own));
    }
    unique(errors, &allocation, "namespaces");
}

fn check_unique_pools(errors: &mut Errors, spec: &At<'_>) {
    unique(errors, spec, "ipAddressPools");
}

fn unique(errors: &mut Errors, at: &At<'_>, field: &str) {
    let all: Vec<_> = at.object.texts(field).collect();
    for (index, (path, text)) in at.texts(field).enumerate() {
        if all.iter().take(index).any(|other| *other == text) {
            errors.duplicate(path, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_apart() {
        for good in ["192.0.2.0/24", "192.0.2.10-192.0.2.20", "192.0.2.1 - 192.0.2.1", "fd00::/64", "fd00::1-fd00::9"] {
            assert_eq!(range_fault(good), None, "{good}");
        }
        for (bad, text) in [
            ("192.0.2.1", "invalid CIDR \"192.0.2.1\""),
            ("192.0.2.0/33", "invalid CIDR \"192.0.2.0/33\""),
            ("a-192.0.2.1", "invalid IP range \"a-192.0.2.1\": invalid start IP \"a\""),
            ("192.0.2.9-192.0.2.300", "invalid IP range \"192.0.2.9-192.0.2.300\": invalid end IP \"192.0.2.300\""),
            (
                "192.0.2.9-192.0.2.1",
                "invalid IP range \"192.0.2.9-192.0.2.1\": start IP \"192.0.2.9\" is after the end IP \"192.0.2.1\"",
            ),
            ("192.0.2.9-fd00::1", "invalid IP range \"192.0.2.9-fd00::1\": the addresses are of two families"),
        ] {
            assert_eq!(range_fault(bad).as_deref(), Some(text), "{bad}");
        }
    }
}
