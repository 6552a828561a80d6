//! The hook that completes Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::field::Errors;
use knarr_api::object::Meta;
use knarr_api::status::{Result, Status};
use knarr_api::tree::Tree;

use super::inherit::{has_cluster_ip, inherit};
use super::range::{AddressRange, PortRange};
use super::{address, families, port};
use crate::registry::{Change, Hook};

/// Gives Services their addresses and ports in the transaction that writes them, and takes them back in the one that
/// does not need them any more.
#[derive(Debug)]
pub struct ServiceHook {
    addresses: Vec<AddressRange>,
    ports: PortRange,
}

/// What a Service holds.
#[derive(Default)]
struct Held {
    addresses: Vec<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Held {
    fn of(service: Option<&Object>) -> Self {
        let spec = service.map(|service| service.map("spec"));
        let has_addresses = spec.filter(|spec| has_cluster_ip(spec));
        Self {
            addresses: has_addresses.map(address::held).unwrap_or_default(),
            ports: spec.map(port::held).unwrap_or_default(),
        }
    }
}

impl ServiceHook {
    /// A hook that gives out of these ranges; at most one range per family, the default family's first.
    #[must_use]
    pub fn new(addresses: Vec<AddressRange>, ports: PortRange) -> Self {
        Self { addresses, ports }
    }

    async fn complete(&self, change: &mut Change<'_>, before: &Held) -> Result<()> {
        let (registry, kind) = (change.registry, change.kind.clone());
        let Some(service) = change.new.as_deref_mut() else { return Ok(()) };
        let name = service.name().to_owned();
        let spec = service.section("spec");
        inherit(spec, change.old.map(|old| old.map("spec")));
        let mut errors = Errors::new();
        if has_cluster_ip(spec) {
            errors.extend(families::complete(spec, &self.addresses));
            if errors.is_empty() && spec.text("clusterIP") != "None" {
                errors.extend(address::allocate(registry, &self.addresses, spec, &before.addresses).await?);
            }
        }
        errors.extend(port::allocate(registry, self.ports, spec, &before.ports).await?);
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&kind, &name, &errors)) }
    }
}

#[async_trait]
impl Hook for ServiceHook {
    async fn apply(&self, change: &mut Change<'_>) -> Result<()> {
        let before = Held::of(change.old);
        self.complete(change, &before).await?;
        let after = Held::of(change.new.as_deref());
        let addresses = change.registry.resource(address::IP_ADDRESSES.0, address::IP_ADDRESSES.1);
        let addresses = addresses.ok_or_else(Status::no_such_path)?;
        if let Some(service) = change.new.as_deref() {
            for &gained in after.addresses.iter().filter(|address| !before.addresses.contains(address)) {
                change.companions.create(&addresses.kind, address::object(gained, service))?;
            }
        }
        for lost in before.addresses.iter().filter(|address| !after.addresses.contains(address)) {
            change.companions.delete(&addresses.kind, "", &lost.to_string());
        }
        for &gained in after.ports.difference(&before.ports) {
            change.companions.hold_node_port(gained);
        }
        for &lost in before.ports.difference(&after.ports) {
            change.companions.free_node_port(lost);
        }
        Ok(())
    }
}
