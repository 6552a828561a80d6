//! Addresses of Services: which are held, and by which objects.

use std::net::IpAddr;

use knarr_api::Object;
use knarr_api::field::{Errors, Path};
use knarr_api::object::Meta;
use knarr_api::status::{Result, Status};
use knarr_api::tree::Tree;
use serde_json::{Value, json};

use super::range::{AddressRange, family};
use crate::registry::Registry;

/// The resource whose objects say which addresses are held (KEP-1880).
pub(super) const IP_ADDRESSES: (&str, &str) = ("networking.k8s.io", "ipaddresses");

/// The addresses that a Service holds.
pub(super) fn held(spec: &Object) -> Vec<IpAddr> {
    spec.texts("clusterIPs").filter_map(|text| text.parse().ok()).collect()
}

/// Gives the Service an address per family that has none yet. `old` are addresses that it holds already.
pub(super) async fn allocate(
    registry: &Registry,
    ranges: &[AddressRange],
    spec: &mut Object,
    old: &[IpAddr],
) -> Result<Errors> {
    let mut errors = Errors::new();
    let families: Vec<String> = spec.texts("ipFamilies").map(ToOwned::to_owned).collect();
    let mut addresses: Vec<String> = spec.texts("clusterIPs").map(ToOwned::to_owned).collect();
    let all = addresses.clone();
    for address in all.iter().filter_map(|text| text.parse::<IpAddr>().ok()).filter(|address| !old.contains(address)) {
        let refused = match ranges.iter().find(|range| range.family() == family(address)) {
            Some(range) if !range.contains(address) => {
                format!("the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}")
            }
            Some(_) if is_taken(registry, address).await? => "provided IP is already allocated".to_owned(),
            _ => continue,
        };
        let detail = format!("failed to allocate IP {address}: {refused}");
        errors.invalid(Path::root("spec").child("clusterIPs"), Value::from(all.clone()), detail);
    }
    for family in families.iter().skip(addresses.len()) {
        let range = ranges.iter().find(|range| range.family() == family);
        let Some(range) = range else { continue };
        addresses.push(free(registry, *range).await?.to_string());
    }
    if let Some(first) = addresses.first() {
        spec.insert("clusterIP".into(), first.as_str().into());
    }
    spec.insert("clusterIPs".into(), addresses.into());
    Ok(errors)
}

async fn is_taken(registry: &Registry, address: IpAddr) -> Result<bool> {
    let resource = registry.resource(IP_ADDRESSES.0, IP_ADDRESSES.1).ok_or_else(Status::no_such_path)?;
    match registry.item(&resource, "", &address.to_string()).await {
        Ok(_) => Ok(true),
        Err(status) if status.is("NotFound") => Ok(false),
        Err(status) => Err(status),
    }
}

async fn free(registry: &Registry, range: AddressRange) -> Result<IpAddr> {
    for address in range.candidates() {
        if !is_taken(registry, address).await? {
            return Ok(address);
        }
    }
    Err(Status::internal(format!("failed to allocate a serviceIP: range {range} is full")))
}

/// The object that says that a Service holds an address.
pub(super) fn object(address: IpAddr, service: &Object) -> Object {
    let parent = json!({"group": "", "resource": "services", "namespace": service.namespace(), "name": service.name()});
    let labels = json!({
        "ipaddress.kubernetes.io/ip-family": family(address),
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    });
    let mut object = Object::new();
    object.insert("metadata".into(), json!({"name": address.to_string(), "labels": labels}));
    object.insert("spec".into(), json!({"parentRef": parent}));
    object
}
