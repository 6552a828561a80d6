//! Which slices to write so that they hold the wanted endpoints, with as few writes as possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::endpoint::{Groups, port_key};

/// What to do, in this order: an endpoint that moves is in two slices for a moment, never in none.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

/// What every slice of an owner and an address type looks like: metadata without a name, address type, no endpoints.
pub(crate) struct Frame {
    pub(crate) empty: EndpointSlice,
    /// The most endpoints in one slice.
    pub(crate) capacity: usize,
}

/// Plans one address type. `existing` are the owner's slices of that type.
pub(crate) fn plan(frame: &Frame, wanted: Groups, existing: Vec<Arc<EndpointSlice>>) -> Plan {
    let mut by_ports: BTreeMap<String, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        by_ports.entry(port_key(slice.ports.as_deref().unwrap_or_default())).or_default().push(slice);
    }
    let mut plan = Plan::default();
    let mut kept = false;
    for (key, (ports, endpoints)) in wanted {
        let own = by_ports.remove(&key).unwrap_or_default();
        kept |= !own.is_empty() || !endpoints.is_empty();
        pack(frame, ports, endpoints, own, &mut plan);
    }
    plan.delete.extend(by_ports.into_values().flatten());
    if !kept {
        keep_one(frame, &mut plan);
    }
    reuse(&mut plan);
    plan
}

/// A Service without endpoints keeps one empty slice: it says that somebody looked.
fn keep_one(frame: &Frame, plan: &mut Plan) {
    let empty =
        |slice: &Arc<EndpointSlice>| slice.endpoints.is_empty() && slice.ports.iter().flatten().next().is_none();
    if let Some(at) = plan.delete.iter().position(empty) {
        let slice = plan.delete.swap_remove(at);
        plan.update.extend(refreshed(frame, &slice, Vec::new()));
    } else {
        plan.create.push(frame.empty.clone());
    }
}

/// Turns a slice that would be deleted into one that would be created.
fn reuse(plan: &mut Plan) {
    while !plan.create.is_empty()
        && let Some(old) = plan.delete.pop()
        && let Some(new) = plan.create.pop()
    {
        let metadata = merged(&new, &old);
        plan.update.push(EndpointSlice { metadata, ..new });
    }
}

/// Spreads the endpoints of one list of ports: those that are in a slice stay there, new ones fill slices that are written
/// anyway, then the fullest slice that holds all that is left, then new slices.
fn pack(
    frame: &Frame,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let mut left: BTreeMap<String, Endpoint> = endpoints.into_iter().map(|one| (identity(&one), one)).collect();
    let mut filled: Vec<(Arc<EndpointSlice>, Vec<Endpoint>, bool)> = Vec::new();
    for slice in slices {
        let stay: Vec<_> = slice.endpoints.iter().filter_map(|old| left.remove(&identity(old))).collect();
        let written = stay != slice.endpoints;
        filled.push((slice, stay, written));
    }
    // The fullest first, so that few slices stay half empty.
    filled.sort_by_key(|(_, endpoints, _)| std::cmp::Reverse(endpoints.len()));
    let mut left: Vec<Endpoint> = left.into_values().collect();
    for (_, endpoints, _) in filled.iter_mut().filter(|(_, endpoints, written)| *written && !endpoints.is_empty()) {
        let room = frame.capacity.saturating_sub(endpoints.len()).min(left.len());
        endpoints.extend(left.drain(..room));
    }
    while left.len() >= frame.capacity {
        plan.create.push(slice(frame, &ports, left.drain(..frame.capacity).collect()));
    }
    if !left.is_empty() {
        let fits = |(_, endpoints, _): &&mut (_, Vec<Endpoint>, _)| endpoints.len() + left.len() <= frame.capacity;
        match filled.iter_mut().find(fits) {
            Some((_, endpoints, written)) => {
                endpoints.append(&mut left);
                *written = true;
            }
            None => plan.create.push(slice(frame, &ports, left)),
        }
    }
    for (slice, endpoints, _) in filled {
        if endpoints.is_empty() {
            plan.delete.push(slice);
        } else {
            plan.update.extend(refreshed(frame, &slice, endpoints));
        }
    }
}

fn slice(frame: &Frame, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice { ports: Some(ports.to_vec()), endpoints, ..frame.empty.clone() }
}

/// The slice with these endpoints and the frame's metadata; `None` when it is so already.
fn refreshed(frame: &Frame, slice: &Arc<EndpointSlice>, endpoints: Vec<Endpoint>) -> Option<EndpointSlice> {
    let metadata = merged(&frame.empty, slice);
    let new = EndpointSlice { metadata, endpoints, ..slice.as_ref().clone() };
    (new != **slice).then_some(new)
}

/// The old slice's identity with the labels and owner that it should have.
fn merged(new: &EndpointSlice, old: &EndpointSlice) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    let mut metadata = old.metadata.clone();
    metadata.labels.clone_from(&new.metadata.labels);
    metadata.owner_references.clone_from(&new.metadata.owner_references);
    metadata
}

/// What makes two endpoints the same one in another state: whom they point at, and their first address.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{target}/{}", endpoint.addresses.first().map_or("", String::as_str))
}
