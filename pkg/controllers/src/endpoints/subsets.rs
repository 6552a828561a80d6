//! Pods as subsets of an Endpoints object.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Pod, Service};

use crate::endpointslice::endpoint::{address, address_types, hostname, is_candidate, reference, target_port};
use crate::pods;

/// The most addresses that one Endpoints object may have.
const CAPACITY: usize = 1000;

/// The subsets of a Service, one per list of ports, and whether addresses had to be left out.
pub(super) fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let spec = service.spec.as_ref();
    let published = spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let family = spec.and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    let family = family.or_else(|| address_types(service).first().map(|&family| family.to_owned())).unwrap_or_default();
    let portless = spec.is_none_or(|spec| spec.ports.iter().flatten().next().is_none());
    let mut groups: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_candidate(pod)) {
        let Some(ip) = address(pod, &family) else { continue };
        if pod.metadata.deletion_timestamp.is_some() && !published {
            continue;
        }
        let ports = ports(pod, service);
        if ports.is_empty() && !portless {
            continue;
        }
        let key = ports.iter().map(|port| format!("{:?}/{}/{:?},", port.name, port.port, port.protocol)).collect();
        let subset = groups.entry(key).or_insert_with(|| EndpointSubset {
            ports: Some(ports).filter(|ports| !ports.is_empty()),
            ..EndpointSubset::default()
        });
        let ready = published || pods::is_ready(pod);
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(EndpointAddress {
            hostname: hostname(pod, service).cloned(),
            ip: ip.to_owned(),
            node_name: Some(pods::node(pod).to_owned()).filter(|node| !node.is_empty()),
            target_ref: Some(reference(pod)),
        });
    }
    let mut subsets: Vec<_> = groups.into_values().collect();
    let cut = truncate(&mut subsets);
    (subsets, cut)
}

fn ports(pod: &Pod, service: &Service) -> Vec<EndpointPort> {
    let wanted = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<_> = wanted
        .filter_map(|port| {
            Some(EndpointPort {
                app_protocol: port.app_protocol.clone(),
                name: port.name.clone(),
                port: target_port(pod, port)?,
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            })
        })
        .collect();
    ports.sort_by(|left, right| (&left.name, left.port).cmp(&(&right.name, right.port)));
    ports
}

/// Cuts what is too much; addresses that are not ready go first.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let mut room = CAPACITY;
    let mut cut = false;
    let mut shorten = |list: &mut Option<Vec<EndpointAddress>>| {
        if let Some(addresses) = list {
            cut |= addresses.len() > room;
            addresses.truncate(room);
            room -= addresses.len();
        }
        *list = list.take().filter(|addresses| !addresses.is_empty());
    };
    subsets.iter_mut().for_each(|subset| shorten(&mut subset.addresses));
    subsets.iter_mut().for_each(|subset| shorten(&mut subset.not_ready_addresses));
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    cut
}
