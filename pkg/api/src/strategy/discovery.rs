//! EndpointSlices.

use std::collections::BTreeSet;

use super::core::check_address;
use super::fill::Fill::{Absent, Drop, Each};
use super::fill::Fixed::Text;
use super::pod::PROTOCOLS;
use super::row::Row;
use super::rules::{At, Rule, check, formed};
use super::{Context, forms, selector};
use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::tree::{Tree, same};

/// EndpointSlices.
pub(super) static ENDPOINT_SLICE: Row = Row {
    fills: &[
        Drop(&["endpoints", "ports"]),
        Each(&["ports"], &[Absent("name", Text("")), Absent("protocol", Text("TCP"))]),
    ],
    rules: &[Rule::MustBe("addressType", &["FQDN", "IPv4", "IPv6"]), Rule::With(check_ports)],
    check_create: |_, errors, slice| check_endpoints(errors, slice),
    check_update: |_: &Context<'_>, errors, new, old| {
        if !same(new.get("endpoints"), old.get("endpoints")) {
            check_endpoints(errors, new);
        }
    },
    immutable: &["addressType"],
    generation: Some(changed),
    warn: |slice, old| match (slice.text("addressType"), old) {
        ("FQDN", None) => vec!["spec.addressType: FQDN endpoints are deprecated".into()],
        _ => Vec::new(),
    },
    ..Row::PLAIN
};

/// Everything counts but metadata, and of metadata the labels.
fn changed(new: &Object, old: &Object) -> bool {
    ["addressType", "endpoints", "ports", "metadata.labels"].iter().any(|path| !same(new.value(path), old.value(path)))
}

/// An error for a list that has more items than it may.
fn at_most(errors: &mut Errors, path: Path, len: usize, most: usize) {
    if len > most {
        errors.push(Reason::TooMany, path, Some(len.into()), format!("must have at most {most} items"));
    }
}

fn check_ports(errors: &mut Errors, slice: &At<'_>) {
    at_most(errors, slice.path("ports"), slice.object.list("ports").len(), 20_000);
    let mut names = BTreeSet::new();
    for port in slice.each("ports") {
        check(errors, &port, &[Rule::Formed("name", forms::label)]);
        if !names.insert(port.text("name")) {
            errors.duplicate(port.path("name"), port.text("name"));
        }
        check(errors, &port, &[Rule::MustBe("protocol", PROTOCOLS), Rule::Formed("appProtocol", forms::qualified)]);
    }
}

fn check_endpoints(errors: &mut Errors, slice: &Object) {
    let kind = slice.text("addressType");
    at_most(errors, Path::root("endpoints"), slice.list("endpoints").len(), 1000);
    for endpoint in At::root(slice).each("endpoints") {
        match endpoint.object.list("addresses").len() {
            0 => errors.required(endpoint.path("addresses"), "must contain at least 1 address"),
            len => at_most(errors, endpoint.path("addresses"), len, 100),
        }
        for (path, address) in endpoint.texts("addresses") {
            check_one(errors, &endpoint, &path, kind, address);
        }
        check(errors, &endpoint, &[Rule::Formed("nodeName", forms::subdomain)]);
        let topology = endpoint.object.map("deprecatedTopology");
        at_most(errors, endpoint.path("deprecatedTopology"), topology.len(), 16);
        selector::check_labels(errors, topology, &endpoint.path("deprecatedTopology"));
        check(errors, &endpoint, &[Rule::Formed("hostname", forms::label)]);
        if let Some(hints) = endpoint.enter("hints") {
            check_hints(errors, &hints, "forZones", forms::label_value);
            check_hints(errors, &hints, "forNodes", forms::subdomain);
        }
    }
}

fn check_one(errors: &mut Errors, endpoint: &At<'_>, path: &Path, kind: &str, address: &str) {
    if kind == "FQDN" {
        return check_name(errors, path, address);
    }
    let faults = forms::ip(address);
    if faults.is_empty() {
        if (kind == "IPv6") != address.contains(':') {
            errors.invalid(endpoint.path("addresses"), address, format!("must be an {kind} address"));
        }
        check_address(errors, path, address);
    }
    faults.into_iter().for_each(|fault| errors.invalid(path.clone(), address, fault));
}

/// A domain name with at least two labels.
fn check_name(errors: &mut Errors, path: &Path, name: &str) {
    let name = name.strip_suffix('.').unwrap_or(name);
    let faults = forms::subdomain(name);
    if name.is_empty() {
        errors.required(path.clone(), "");
    } else if !faults.is_empty() {
        errors.invalid(path.clone(), name, faults.join(","));
    } else if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.invalid(path.clone(), name, detail);
    }
}

fn check_hints(errors: &mut Errors, hints: &At<'_>, list: &str, form: fn(&str) -> Vec<String>) {
    at_most(errors, hints.path(list), hints.object.list(list).len(), 8);
    let mut names = BTreeSet::new();
    for hint in hints.each(list) {
        let name = hint.text("name");
        if !names.insert(name) {
            errors.duplicate(hint.path("name"), name);
        }
        formed(errors, &hint.path("name"), name, form);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;
    use serde_json::{Value, json};

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        for (slice, text) in [
            (json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}), ""),
            (json!({}), "addressType: Required value"),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}),
                "endpoints[0].addresses: Required value: must contain at least 1 address",
            ),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]}),
                "endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
            ),
            (
                json!({"addressType": "IPv4", "ports": [{"name": "a"}, {"name": "a"}]}),
                "ports[1].name: Duplicate value: \"a\"",
            ),
        ] {
            let Value::Object(mut slice) = slice else { unreachable!() };
            ENDPOINT_SLICE.default(&mut slice);
            let errors = ENDPOINT_SLICE.validate(&cx, &slice);
            let said = if errors.is_empty() { String::new() } else { errors.to_string() };
            assert_eq!(said, text, "{slice:?}");
        }
    }
}
