//! What DNS needs to know of a Service: a small form that is also kept on disk.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::{Deserialize, Serialize};

/// A Service as names and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceRecords {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) target: Target,
}

/// What the Service's name leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// Addresses of its own.
    Cluster { addresses: Vec<IpAddr>, ports: Vec<Port> },
    /// The addresses of its endpoints.
    Headless(Vec<Endpoint>),
    /// Another name.
    External(String),
}

/// A named port, for SRV records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    pub(crate) name: String,
    /// In lower case.
    pub(crate) protocol: String,
    pub(crate) number: u16,
}

/// One endpoint of a headless Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    /// Its own name under the Service's: the pod's hostname, else its address with dashes.
    pub(crate) hostname: String,
    pub(crate) ports: Vec<Port>,
}

impl ServiceRecords {
    /// `None` for a Service that has no address yet.
    pub(crate) fn new<'a>(service: &Service, slices: impl Iterator<Item = &'a EndpointSlice>) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let target = if spec.type_.as_deref() == Some("ExternalName") {
            Target::External(spec.external_name.clone()?)
        } else if spec.cluster_ip.as_deref() == Some("None") {
            Target::Headless(slices.flat_map(endpoints).collect())
        } else {
            let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
            let mut addresses: Vec<IpAddr> = listed.filter_map(|text| text.parse().ok()).collect();
            addresses.dedup();
            addresses.sort_unstable();
            addresses.dedup();
            let ports = spec.ports.iter().flatten();
            let ports = ports.filter_map(|port| Port::new(port.name.as_ref(), port.protocol.as_ref(), port.port));
            Target::Cluster { addresses, ports: ports.collect() }
        };
        let metadata = &service.metadata;
        Some(Self { namespace: metadata.namespace.clone()?, name: metadata.name.clone()?, target })
    }
}

impl Port {
    fn new(name: Option<&String>, protocol: Option<&String>, number: i32) -> Option<Self> {
        Some(Self {
            name: name.map(|name| name.to_ascii_lowercase()).unwrap_or_default(),
            protocol: protocol.map_or_else(|| "tcp".to_owned(), |protocol| protocol.to_ascii_lowercase()),
            number: number.try_into().ok()?,
        })
    }
}

/// The endpoints of a slice that serve: those of a Service that publishes unready addresses are marked ready by the
/// EndpointSlice controller.
fn endpoints(slice: &EndpointSlice) -> impl Iterator<Item = Endpoint> + '_ {
    let ports = slice.ports.iter().flatten();
    let ports: Vec<_> =
        ports.filter_map(|port| Port::new(port.name.as_ref(), port.protocol.as_ref(), port.port?)).collect();
    let serving = slice
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    serving.flat_map(move |endpoint| {
        let ports = ports.clone();
        endpoint.addresses.iter().filter_map(move |text| {
            let address: IpAddr = text.parse().ok()?;
            let hostname = endpoint.hostname.clone().filter(|name| !name.is_empty());
            let hostname = hostname.unwrap_or_else(|| dashed(address)).to_ascii_lowercase();
            Some(Endpoint { address, hostname, ports: ports.clone() })
        })
    })
}

/// `10.42.0.7` as `10-42-0-7`.
fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
