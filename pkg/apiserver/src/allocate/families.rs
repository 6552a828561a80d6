//! `ipFamilyPolicy` and `ipFamilies`
//! (<https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services>).

use std::net::IpAddr;

use knarr_api::Object;
use knarr_api::field::{Errors, Path};
use knarr_api::tree::Tree;

use super::range::{AddressRange, family};

const SINGLE: &str = "SingleStack";
const REQUIRE: &str = "RequireDualStack";

/// Completes policy and families of a Service that has addresses or is headless. `ranges` are the cluster's, the default
/// family's first.
pub(super) fn complete(spec: &mut Object, ranges: &[AddressRange]) -> Errors {
    let mut errors = Errors::new();
    let path = Path::root("spec");
    let headless = spec.text("clusterIP") == "None";
    let selectorless = spec.map("selector").is_empty();
    if !spec.has("ipFamilyPolicy") {
        let policy = if headless && selectorless { REQUIRE } else { SINGLE };
        spec.insert("ipFamilyPolicy".into(), policy.into());
    }
    let policy = spec.text("ipFamilyPolicy").to_owned();
    let given: Vec<String> = spec.texts("clusterIPs").map(ToOwned::to_owned).collect();
    let mut families: Vec<String> = spec.texts("ipFamilies").map(ToOwned::to_owned).collect();
    for (field, count) in [("cluster IPs", given.len()), ("IP families", families.len())] {
        if policy == SINGLE && count > 1 {
            let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {field} are specified");
            errors.invalid(path.child("ipFamilyPolicy"), policy.as_str(), detail);
        }
    }
    let named = given.iter().filter_map(|text| text.parse::<IpAddr>().ok()).map(family);
    for own in named.skip(families.len()).collect::<Vec<_>>() {
        families.push(own.to_owned());
    }
    if families.is_empty() {
        families.extend(ranges.first().map(|range| range.family().to_owned()));
    }
    let other = if families.first().is_some_and(|first| first == "IPv4") { "IPv6" } else { "IPv4" };
    let served = |family: &str| ranges.iter().any(|range| range.family() == family);
    if policy != SINGLE && families.len() < 2 && (served(other) || headless && selectorless) {
        families.push(other.to_owned());
    }
    if !(headless && selectorless) {
        for (index, family) in families.iter().enumerate().filter(|(_, family)| !served(family)) {
            errors.invalid(path.child("ipFamilies").index(index), family.as_str(), "not configured on this cluster");
        }
        if policy == REQUIRE && families.len() < 2 {
            let detail = "this cluster is not configured for dual-stack services";
            errors.invalid(path.child("ipFamilyPolicy"), policy.as_str(), detail);
        }
    }
    spec.insert("ipFamilies".into(), families.into());
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, ranges: &[&str], expect: Result<(&str, &[&str]), &str>) {
        let ranges: Vec<AddressRange> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let Value::Object(mut object) = spec.clone() else { panic!("no object") };
        let errors = complete(&mut object, &ranges);
        match expect {
            Ok((policy, families)) => {
                assert!(errors.is_empty(), "{spec}: {errors}");
                assert_eq!(object.text("ipFamilyPolicy"), policy, "{spec}");
                assert_eq!(object.texts("ipFamilies").collect::<Vec<_>>(), families, "{spec}");
            }
            Err(text) => assert_eq!(errors.to_string(), text, "{spec}"),
        }
    }

    #[test]
    fn policies() {
        let (v4, dual) = (&["10.43.0.0/16"][..], &["10.43.0.0/16", "fd00:43::/112"][..]);
        let plain = json!({"selector": {"a": "b"}});
        check(plain.clone(), v4, Ok(("SingleStack", &["IPv4"])));
        check(plain, dual, Ok(("SingleStack", &["IPv4"])));
        check(
            json!({"selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"}),
            v4,
            Ok(("PreferDualStack", &["IPv4"])),
        );
        check(
            json!({"selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"}),
            dual,
            Ok(("PreferDualStack", &["IPv4", "IPv6"])),
        );
        check(json!({"selector": {"a": "b"}, "ipFamilies": ["IPv6"]}), dual, Ok(("SingleStack", &["IPv6"])));
        check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), v4, Ok(("RequireDualStack", &["IPv4", "IPv6"])));
        check(json!({"selector": {"a": "b"}, "clusterIPs": ["fd00:43::9"]}), dual, Ok(("SingleStack", &["IPv6"])));
        check(
            json!({"selector": {"a": "b"}, "ipFamilies": ["IPv6"]}),
            v4,
            Err("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"),
        );
        check(
            json!({"selector": {"a": "b"}, "ipFamilyPolicy": "RequireDualStack"}),
            v4,
            Err(
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
        );
    }
}
