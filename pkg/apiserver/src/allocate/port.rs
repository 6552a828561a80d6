//! Node ports of Services: which are held.

use std::collections::BTreeSet;

use knarr_api::Object;
use knarr_api::field::{Errors, Path};
use knarr_api::status::{Result, Status};
use knarr_api::tree::{Tree, objects_mut};

use super::inherit::{has_health_check_port, has_node_ports};
use super::range::PortRange;
use crate::registry::Registry;

/// The ports that a Service holds: one number may serve several protocols.
pub(super) fn held(spec: &Object) -> BTreeSet<u16> {
    let ports = spec.objects("ports").map(|port| port.number("nodePort"));
    let all = ports.chain([spec.number("healthCheckNodePort")]);
    all.filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect()
}

/// Gives every port that wants one a node port, and the Service its health check's.
pub(super) async fn allocate(
    registry: &Registry,
    range: PortRange,
    spec: &mut Object,
    old: &BTreeSet<u16>,
) -> Result<Errors> {
    let mut errors = Errors::new();
    if !has_node_ports(spec) {
        return Ok(errors);
    }
    let mut own = held(spec);
    for (index, port) in spec.objects("ports").enumerate() {
        let asked = port.number("nodePort");
        if let Some(text) = refusal(registry, range, asked, old).await? {
            errors.invalid(Path::root("spec").child("ports").index(index).child("nodePort"), asked, text);
        }
    }
    let asked = spec.number("healthCheckNodePort");
    if let Some(text) = refusal(registry, range, asked, old).await? {
        errors.invalid(Path::root("spec").child("healthCheckNodePort"), asked, text);
    }
    let wants = spec.text("type") == "NodePort" || spec.flag("allocateLoadBalancerNodePorts").unwrap_or(true);
    let mut wanting = if wants { spec.objects("ports").filter(|port| port.number("nodePort") == 0).count() } else { 0 };
    let health = has_health_check_port(spec) && spec.number("healthCheckNodePort") == 0;
    wanting += usize::from(health);
    let mut found = Vec::with_capacity(wanting);
    for _ in 0..wanting {
        let port = free(registry, range, &own).await?;
        own.insert(port);
        found.push(port);
    }
    if health && let Some(port) = found.pop() {
        spec.insert("healthCheckNodePort".into(), port.into());
    }
    // A port that is served over two protocols has the same number for both.
    let mut given: Vec<(i64, i64)> = Vec::new();
    for port in objects_mut(spec, "ports").filter(|port| wants || port.number("nodePort") != 0) {
        let (number, node) = (port.number("port"), port.number("nodePort"));
        let shared = given.iter().find(|(other, _)| *other == number).map(|(_, node)| *node);
        let node = match (node, shared) {
            (0, Some(shared)) => shared,
            (0, None) => found.pop().unwrap_or_default().into(),
            (node, _) => node,
        };
        given.push((number, node));
        port.insert("nodePort".into(), node.into());
    }
    Ok(errors)
}

/// Why the Service cannot have the port that it asks for.
async fn refusal(registry: &Registry, range: PortRange, asked: i64, old: &BTreeSet<u16>) -> Result<Option<String>> {
    let port = match u16::try_from(asked) {
        Ok(0) => return Ok(None),
        Ok(port) if old.contains(&port) => return Ok(None),
        Ok(port) if range.contains(port) => port,
        _ => return Ok(Some(format!("provided port is not in the valid range. The range of valid ports is {range}"))),
    };
    Ok(registry.holds_node_port(port).await?.then(|| "provided port is already allocated".to_owned()))
}

async fn free(registry: &Registry, range: PortRange, own: &BTreeSet<u16>) -> Result<u16> {
    for port in range.candidates().filter(|port| !own.contains(port)) {
        if !registry.holds_node_port(port).await? {
            return Ok(port);
        }
    }
    Err(Status::internal("failed to allocate a nodePort: range is full"))
}
