//! What the plugin answers, in each version of the specification.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::request::Failure;
use crate::netlink::Mac;
use crate::{Cidr, Family};

/// Versions of the specification.
#[derive(Debug)]
pub struct Version;

impl Version {
    /// The newest one that is spoken.
    pub const LATEST: &str = "1.1.0";
    /// All that are spoken. containerd 1.6 and 1.7 call `loopback` with 0.3.1 and other plugins with that of the
    /// configuration.
    pub const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", Self::LATEST];

    /// The answer to VERSION.
    #[must_use]
    pub fn supported(asked: &str) -> Value {
        json!({"cniVersion": Self::or_latest(asked), "supportedVersions": Self::SUPPORTED})
    }

    pub(super) fn check(version: &str) -> Result<(), Failure> {
        match Self::SUPPORTED.contains(&version) {
            true => Ok(()),
            false => {
                let details = format!("spoken are {}", Self::SUPPORTED.join(", "));
                Err(Failure::new(
                    Failure::INCOMPATIBLE_VERSION,
                    format!("cniVersion {version:?} is not spoken"),
                    details,
                ))
            }
        }
    }

    pub(super) fn or_latest(version: &str) -> String {
        if Self::SUPPORTED.contains(&version) { version.to_owned() } else { Self::LATEST.to_owned() }
    }
}

/// A link of an answer.
#[derive(Debug)]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    pub(super) mac: Mac,
    /// The namespace's path; `None` for links of the host.
    pub(super) sandbox: Option<String>,
}

/// The answer to ADD: addresses belong to the last interface.
pub(super) fn added(version: &str, interfaces: &[Interface<'_>], addresses: &[(Cidr, Option<IpAddr>)]) -> Value {
    let interface = |interface: &Interface<'_>| {
        let mut shown = Map::from_iter([
            ("name".to_owned(), Value::from(interface.name)),
            ("mac".to_owned(), interface.mac.to_string().into()),
        ]);
        shown.extend(interface.sandbox.as_deref().map(|sandbox| ("sandbox".to_owned(), sandbox.into())));
        shown
    };
    let last = interfaces.len().saturating_sub(1);
    let address = |(address, gateway): &(Cidr, Option<IpAddr>)| {
        let mut shown = Map::from_iter([
            ("address".to_owned(), Value::from(address.to_string())),
            ("interface".to_owned(), last.into()),
        ]);
        shown.extend(gateway.map(|gateway| ("gateway".to_owned(), gateway.to_string().into())));
        let number = if address.family() == Family::V4 { "4" } else { "6" };
        shown.extend(version.starts_with("0.").then(|| ("version".to_owned(), number.into())));
        shown
    };
    let route = |(address, gateway): &(Cidr, Option<IpAddr>)| {
        gateway.map(|gateway| json!({"dst": address.family().everything(), "gw": gateway}))
    };
    json!({
        "cniVersion": version,
        "interfaces": interfaces.iter().map(interface).collect::<Vec<_>>(),
        "ips": addresses.iter().map(address).collect::<Vec<_>>(),
        "routes": addresses.iter().filter_map(route).collect::<Vec<_>>(),
        "dns": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_name_the_family_of_an_address() {
        let gateway = IpAddr::from([10, 42, 0, 1]);
        let pod = IpAddr::from([10, 42, 0, 5]);
        let interfaces = [
            Interface { name: "knarr0", mac: Mac::of(gateway), sandbox: None },
            Interface { name: "eth0", mac: Mac::of(pod), sandbox: Some("/run/netns/x".into()) },
        ];
        let answer = |version| added(version, &interfaces, &[(Cidr::host(pod), Some(gateway))]);
        assert_eq!(
            answer("1.0.0"),
            json!({
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": "knarr0", "mac": "0a:58:0a:2a:00:01"},
                    {"name": "eth0", "mac": "0a:58:0a:2a:00:05", "sandbox": "/run/netns/x"},
                ],
                "ips": [{"address": "10.42.0.5/32", "gateway": "10.42.0.1", "interface": 1}],
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.42.0.1"}],
                "dns": {},
            })
        );
        assert_eq!(answer("0.4.0")["ips"][0]["version"], "4");
        assert_eq!(answer("0.3.1")["cniVersion"], "0.3.1");
    }
}
