//! Endpoints.

use std::net::IpAddr;

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::fill::Fill::{Drop, Each, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::forms;
use crate::strategy::pod::PROTOCOLS;
use crate::strategy::row::Row;
use crate::strategy::rules::{At, Rule, check, formed, in_range};
use crate::tree::{Tree, same};

/// Endpoints.
pub(in crate::strategy) static ENDPOINTS: Row = Row {
    fills: &[
        Drop(&["subsets"]),
        Each(
            &["subsets"],
            &[Drop(&["addresses", "notReadyAddresses"]), Each(&["ports"], &[Zero("protocol", Text("TCP"))])],
        ),
    ],
    check_create: |_, errors, endpoints| check_subsets(errors, endpoints),
    check_update: |_, errors, new, old| {
        // What was stored before a rule existed may stay.
        if !same(new.get("subsets"), old.get("subsets")) {
            check_subsets(errors, new);
        }
    },
    create_on_update: true,
    ..Row::PLAIN
};

fn check_subsets(errors: &mut Errors, endpoints: &Object) {
    for subset in At::root(endpoints).each("subsets") {
        if subset.object.list("addresses").is_empty() && subset.object.list("notReadyAddresses").is_empty() {
            errors.required(subset.path.clone(), "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ["addresses", "notReadyAddresses"].into_iter().flat_map(|list| subset.each(list)) {
            formed(errors, &address.path("ip"), address.text("ip"), forms::ip);
            check(
                errors,
                &address,
                &[Rule::Formed("hostname", forms::label), Rule::Formed("nodeName", forms::subdomain)],
            );
            check_address(errors, &address.path("ip"), address.text("ip"));
        }
        let named = subset.object.list("ports").len() > 1;
        for port in subset.each("ports") {
            if named {
                check(errors, &port, &[Rule::Named("name", forms::label)]);
            } else {
                check(errors, &port, &[Rule::Formed("name", forms::label)]);
            }
            in_range(errors, port.path("port"), port.object.number("port"), 1, 65535);
            check(errors, &port, &[Rule::MustBe("protocol", PROTOCOLS), Rule::Formed("appProtocol", forms::qualified)]);
        }
    }
}

/// Traffic for an endpoint must leave the node it is on: upstream's `ValidateEndpointIP`.
pub(in crate::strategy) fn check_address(errors: &mut Errors, path: &Path, text: &str) {
    let Some(address) = forms::sloppy_ip(text) else {
        return errors.invalid(path.clone(), text, "must be a valid IP address");
    };
    let (link_local, link_multicast) = match address {
        IpAddr::V4(ip) => (ip.is_link_local(), matches!(ip.octets(), [224, 0, 0, _])),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), matches!(ip.segments(), [0xff02, ..])),
    };
    for (wrong, detail) in [
        (address.is_unspecified(), format!("may not be unspecified ({text})")),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".into()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into()),
        (link_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into()),
    ] {
        if wrong {
            errors.invalid(path.clone(), text, detail);
        }
    }
}
