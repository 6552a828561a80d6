//! What a Service is in nftables: a pure function of it and its endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::base::{
    CLUSTER_IPS, FIREWALL_IPS, LOAD_BALANCER_IPS, MARK, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINT_SERVICES, POD_RANGES,
    REJECT, SERVICE_IPS, SERVICE_NODE_PORTS,
};
use super::endpoints::{self, Endpoint, Locality, Usable};
use super::names;
use crate::{Cidr, Family};

/// Another proxy serves what carries this label (KEP-2447).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Says that an allocator took the addresses from a pool: they belong to no node.
pub(crate) const FROM_POOL: [&str; 2] =
    ["metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"];

/// The API server sets it; this is its default.
const STICKY_SECONDS: i32 = 10_800;

/// A transport protocol of a Service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    fn of(port: &ServicePort) -> Option<Self> {
        match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    const fn nft(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    const fn api(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// What a client sends a packet to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frontend {
    /// An address of a Service.
    Address(SocketAddr),
    /// A port of every node.
    NodePort(u16),
}

/// Everything of one Service in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Chains and their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Sets that remember clients, and for how long.
    pub affinity: BTreeMap<String, Duration>,
    /// Elements of the shared maps and sets: set and key, value.
    pub elements: BTreeMap<(&'static str, String), String>,
    /// Where connection tracking may lead UDP that was sent to each frontend. Frontends without any endpoint are left out:
    /// there is nowhere else to lead them.
    pub udp: BTreeMap<Frontend, BTreeSet<SocketAddr>>,
}

/// Plans a Service in one family. `excluded` are addresses that somebody else answers for.
#[must_use]
pub fn plan<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
    here: &Locality,
    family: Family,
    excluded: &[IpAddr],
) -> Plan {
    let mut plan = Plan::default();
    let Some(shared) = Shared::of(service, family, excluded) else { return plan };
    for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
        let (Some(transport), Ok(number)) = (Transport::of(port), u16::try_from(port.port)) else { continue };
        let name = port.name.as_deref().unwrap_or_default();
        let all = endpoints::of_port(slices.clone(), name, transport.api(), family, &here.node);
        let node_port = port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let port = Port { shared: &shared, transport, number, name, node_port };
        port.plan(&all, here, &mut plan);
    }
    plan
}

/// What the ports of a Service have in common.
struct Shared<'a> {
    family: Family,
    namespace: &'a str,
    name: &'a str,
    cluster_ip: IpAddr,
    external_ips: BTreeSet<IpAddr>,
    balancer_ips: BTreeSet<IpAddr>,
    from_pool: bool,
    source_ranges: BTreeSet<Cidr>,
    internal_local: bool,
    external_local: bool,
    sticky: Option<Duration>,
}

impl<'a> Shared<'a> {
    /// `None` when the proxy has nothing to do with the Service.
    fn of(service: &'a Service, family: Family, excluded: &[IpAddr]) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let labelled = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_NAME));
        if labelled || spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let cluster_ip = cluster_ip(spec, family).filter(|ip| !excluded.contains(ip))?;
        let of_family = |ip: &IpAddr| Family::of(*ip) == family;
        let annotations = service.metadata.annotations.as_ref();
        Some(Self {
            family,
            namespace: service.metadata.namespace.as_deref().unwrap_or_default(),
            name: service.metadata.name.as_deref().unwrap_or_default(),
            cluster_ip,
            external_ips: addresses(spec.external_ips.iter().flatten()).filter(of_family).collect(),
            balancer_ips: balancer_ips(service).filter(of_family).collect(),
            from_pool: annotations.is_some_and(|present| FROM_POOL.iter().any(|name| present.contains_key(*name))),
            source_ranges: source_ranges(spec, family),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: external_local(spec),
            sticky: (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| sticky(spec)),
        })
    }
}

/// Whether `externalTrafficPolicy` is `Local`, and the Service is of a type that has one.
pub(crate) fn external_local(spec: &ServiceSpec) -> bool {
    let external = matches!(spec.type_.as_deref(), Some("LoadBalancer" | "NodePort"))
        || spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    external && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// The addresses of `status.loadBalancer` that packets arrive under (KEP-1860).
pub(crate) fn balancer_ips(service: &Service) -> impl Iterator<Item = IpAddr> {
    let ingress = service.status.iter().flat_map(|status| &status.load_balancer).flat_map(|balancer| &balancer.ingress);
    let vip = ingress.flatten().filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    addresses(vip.filter_map(|ingress| ingress.ip.as_ref()))
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> impl Iterator<Item = IpAddr> {
    texts.filter_map(|text| text.parse().ok())
}

fn cluster_ip(spec: &ServiceSpec, family: Family) -> Option<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    addresses(all).find(|ip| Family::of(*ip) == family)
}

/// Empty means everybody, as does a range of all addresses. Validation lets blanks through.
fn source_ranges(spec: &ServiceSpec, family: Family) -> BTreeSet<Cidr> {
    let ranges = spec.load_balancer_source_ranges.iter().flatten().filter_map(|range| range.parse::<Cidr>().ok());
    let ranges: BTreeSet<_> = ranges.filter(|range| range.family() == family).collect();
    if ranges.contains(&family.everything()) { BTreeSet::new() } else { ranges }
}

fn sticky(spec: &ServiceSpec) -> Duration {
    let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|config| config.timeout_seconds).unwrap_or(STICKY_SECONDS);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(1))
}

struct Port<'a> {
    shared: &'a Shared<'a>,
    transport: Transport,
    number: u16,
    name: &'a str,
    node_port: Option<u16>,
}

/// The chains of a port.
struct Chains {
    /// Endpoints under the policy `Cluster`.
    cluster: String,
    /// Endpoints under the policy `Local`.
    local: String,
    /// What comes from outside.
    external: String,
    /// Who may come from outside.
    firewall: String,
}

impl Port<'_> {
    fn plan(&self, all: &[Endpoint], here: &Locality, plan: &mut Plan) {
        let shared = self.shared;
        let external = self.node_port.is_some() || !shared.balancer_ips.is_empty() || !shared.external_ips.is_empty();
        let usable = endpoints::choose(
            all,
            !shared.internal_local || external,
            shared.internal_local || (shared.external_local && external),
            here,
        );
        let chains = self.chains();
        self.dispatch_internal(&usable, &chains, plan);
        self.dispatch_external(&usable, &chains, plan);
        self.firewall(&chains, plan);
        self.balance(&chains.cluster, &usable.cluster, plan);
        self.balance(&chains.local, &usable.local, plan);
        if usable.any && external {
            plan.chains.insert(chains.external.clone(), self.external_rules(&usable, &chains));
        }
        for endpoint in usable.all().into_values() {
            self.endpoint(endpoint, plan);
        }
        self.udp_frontends(all, plan);
    }

    fn chains(&self) -> Chains {
        let shared = self.shared;
        let base = names::port(shared.namespace, shared.name, self.transport.nft(), self.name);
        Chains {
            cluster: format!("service-{base}"),
            local: format!("local-{base}"),
            external: format!("external-{base}"),
            firewall: format!("firewall-{base}"),
        }
    }

    fn key(&self, ip: IpAddr) -> String {
        format!("{ip} . {} . {}", self.transport.nft(), self.number)
    }

    fn node_port_key(&self, port: u16) -> String {
        format!("{} . {port}", self.transport.nft())
    }

    fn dispatch_internal(&self, usable: &Usable<'_>, chains: &Chains, plan: &mut Plan) {
        let ip = self.shared.cluster_ip;
        plan.elements.insert((CLUSTER_IPS, ip.to_string()), String::new());
        let chain = if self.shared.internal_local { &chains.local } else { &chains.cluster };
        let reachable = if self.shared.internal_local { !usable.local.is_empty() } else { usable.any };
        match reachable {
            true => plan.elements.insert((SERVICE_IPS, self.key(ip)), format!("goto {chain}")),
            false => plan.elements.insert((NO_ENDPOINT_SERVICES, self.key(ip)), without_endpoints(usable)),
        };
    }

    /// Under the policy `Local` without an endpoint here, pods and the node itself are served all the same; what comes from
    /// outside falls through to the second map.
    fn dispatch_external(&self, usable: &Usable<'_>, chains: &Chains, plan: &mut Plan) {
        let shared = self.shared;
        let reachable = if shared.external_local { !usable.local.is_empty() } else { usable.any };
        let mut add = |served, unserved, key: String| {
            if usable.any {
                plan.elements.insert((served, key.clone()), format!("goto {}", chains.external));
            }
            if !reachable {
                plan.elements.insert((unserved, key), without_endpoints(usable));
            }
        };
        for ip in shared.external_ips.union(&shared.balancer_ips) {
            add(SERVICE_IPS, NO_ENDPOINT_SERVICES, self.key(*ip));
        }
        if let Some(port) = self.node_port {
            add(SERVICE_NODE_PORTS, NO_ENDPOINT_NODE_PORTS, self.node_port_key(port));
        }
        if shared.from_pool {
            let pooled = shared.balancer_ips.iter().map(|ip| ((LOAD_BALANCER_IPS, ip.to_string()), String::new()));
            plan.elements.extend(pooled);
        }
    }

    /// `loadBalancerSourceRanges` limits who may use the load balancer's addresses, and only these.
    fn firewall(&self, chains: &Chains, plan: &mut Plan) {
        let shared = self.shared;
        if shared.source_ranges.is_empty() || shared.balancer_ips.is_empty() {
            return;
        }
        for ip in &shared.balancer_ips {
            plan.elements.insert((FIREWALL_IPS, self.key(*ip)), format!("goto {}", chains.firewall));
        }
        // This node's own packets to such an address carry the address itself as their source where the node holds it.
        let ranges = shared.source_ranges.iter().map(ToString::to_string);
        let ranges: Vec<_> = ranges.chain(shared.balancer_ips.iter().map(ToString::to_string)).collect();
        let rule = format!("{} saddr != {{ {} }} drop", shared.family.nft(), ranges.join(", "));
        plan.chains.insert(chains.firewall.clone(), vec![rule]);
    }

    fn external_rules(&self, usable: &Usable<'_>, chains: &Chains) -> Vec<String> {
        let ip = self.shared.family.nft();
        // The node's own packets may carry the frontend's address as their source, which no endpoint could answer to.
        let mut rules = vec![format!("fib saddr type local jump {MARK}")];
        if !self.shared.external_local {
            rules.push(format!("goto {}", chains.cluster));
            return rules;
        }
        // As if they had gone out and come back in, pods and the node are subject to no policy.
        rules.insert(0, format!("{ip} saddr @{POD_RANGES} goto {}", chains.cluster));
        rules.push(format!("fib saddr type local goto {}", chains.cluster));
        if !usable.local.is_empty() {
            rules.push(format!("goto {}", chains.local));
        }
        rules
    }

    /// Remembered clients first, then chance.
    fn balance(&self, chain: &str, endpoints: &[&Endpoint], plan: &mut Plan) {
        if endpoints.is_empty() {
            return;
        }
        let ip = self.shared.family.nft();
        let mut rules = Vec::new();
        if let Some(timeout) = self.shared.sticky {
            for endpoint in endpoints {
                let name = self.endpoint_name(endpoint);
                let set = affinity_set(&name, timeout);
                rules.push(format!("{ip} saddr @{set} goto endpoint-{name}"));
            }
        }
        let choices = endpoints.iter().enumerate();
        let choices: Vec<_> = choices
            .map(|(place, endpoint)| format!("{place} : goto endpoint-{}", self.endpoint_name(endpoint)))
            .collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), choices.join(", ")));
        plan.chains.insert(chain.to_owned(), rules);
    }

    fn endpoint_name(&self, endpoint: &Endpoint) -> String {
        let Shared { namespace, name, .. } = self.shared;
        names::endpoint(namespace, name, self.transport.nft(), self.name, endpoint.address)
    }

    fn endpoint(&self, endpoint: &Endpoint, plan: &mut Plan) {
        let ip = self.shared.family.nft();
        let name = self.endpoint_name(endpoint);
        let address = endpoint.address;
        // An endpoint that reaches itself through the Service must see another source than its own.
        let mut rules = vec![format!("{ip} saddr {} jump {MARK}", address.ip())];
        if !endpoint.local {
            // The answer to somebody outside of the cluster would not come back through this node.
            rules.push(format!("fib saddr type != local {ip} saddr != @{POD_RANGES} jump {MARK}"));
        }
        if let Some(timeout) = self.shared.sticky {
            let set = affinity_set(&name, timeout);
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
            plan.affinity.insert(set, timeout);
        }
        rules.push(format!("meta l4proto {} dnat to {address}", self.transport.nft()));
        plan.chains.insert(format!("endpoint-{name}"), rules);
    }

    fn udp_frontends(&self, all: &[Endpoint], plan: &mut Plan) {
        let serving: BTreeSet<_> =
            all.iter().filter(|endpoint| endpoint.serving).map(|endpoint| endpoint.address).collect();
        if self.transport != Transport::Udp || serving.is_empty() {
            return;
        }
        let shared = self.shared;
        let ips = shared.external_ips.union(&shared.balancer_ips).chain([&shared.cluster_ip]);
        let frontends = ips.map(|ip| Frontend::Address(SocketAddr::new(*ip, self.number)));
        let frontends = frontends.chain(self.node_port.map(Frontend::NodePort));
        plan.udp.extend(frontends.map(|frontend| (frontend, serving.clone())));
    }
}

/// With endpoints elsewhere the packet is dropped, as it is on its way to the wrong node; without any it is refused.
fn without_endpoints(usable: &Usable<'_>) -> String {
    if usable.any { "drop".to_owned() } else { format!("goto {REJECT}") }
}

/// The timeout is part of the name: a set cannot change it, and the one of the old timeout is still in use when the new one
/// is made.
fn affinity_set(endpoint: &str, timeout: Duration) -> String {
    format!("affinity-{}-{endpoint}", timeout.as_secs())
}

#[cfg(test)]
mod tests;
