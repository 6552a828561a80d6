//! The part of the tables that is there without any Service: hooks, and the maps that lead from them to Services.

use std::net::IpAddr;

use crate::nft::{Base, Set, Table};
use crate::{Cidr, Family};

pub(super) const SERVICE_IPS: &str = "service-ips";
pub(super) const SERVICE_NODE_PORTS: &str = "service-nodeports";
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub(super) const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
pub(super) const FIREWALL_IPS: &str = "firewall-ips";
pub(super) const LOAD_BALANCER_IPS: &str = "loadbalancer-ips";
pub(super) const POD_RANGES: &str = "pod-ranges";

pub(super) const MARK: &str = "mark-for-masquerade";
pub(super) const REJECT: &str = "reject-chain";

const SERVICES: &str = "services";
const SERVICES_CHECK: &str = "service-endpoints-check";
const NODE_PORTS_CHECK: &str = "nodeport-endpoints-check";
const CLUSTER_IPS_CHECK: &str = "cluster-ips-check";
const BALANCER_IPS_CHECK: &str = "loadbalancer-ips-check";
const FIREWALL_CHECK: &str = "firewall-check";
const MASQUERADING: &str = "masquerading";

/// The bit of a packet's mark that asks for masquerade: kube-proxy's `--iptables-masquerade-bit`.
const MASQUERADE: &str = "0x4000";

/// nftables' names for these numbers are `dstnat`, `filter` and `srcnat`; in the chains of a hook `output` it knows no
/// `dstnat`.
const DSTNAT: i64 = -100;
const FILTER: i64 = 0;
const SRCNAT: i64 = 100;

/// The ranges of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Those of pods, on all nodes.
    pub(super) pods: Vec<Cidr>,
    /// Those of Services.
    pub(super) services: Vec<Cidr>,
    /// Addresses in them that the node answers for itself.
    pub(super) own: Vec<IpAddr>,
}

/// A hook, and the rules of its chain.
type Hook = (&'static str, Base, Vec<String>);

/// Says what the table of a family holds without Services.
pub(super) fn fill(table: &mut Table, family: Family, ranges: &Ranges) {
    let address = family.nft_type();
    let service = format!("{address} . inet_proto . inet_service");
    let node_port = "inet_proto . inet_service";
    for (name, set) in [
        (SERVICE_IPS, Set::map(&service, "verdict")),
        (NO_ENDPOINT_SERVICES, Set::map(&service, "verdict")),
        (FIREWALL_IPS, Set::map(&service, "verdict")),
        (SERVICE_NODE_PORTS, Set::map(node_port, "verdict")),
        (NO_ENDPOINT_NODE_PORTS, Set::map(node_port, "verdict")),
        (CLUSTER_IPS, Set::of(address)),
        (LOAD_BALANCER_IPS, Set::of(address)),
        (POD_RANGES, Set::ranges(address)),
    ] {
        table.set(name, set);
    }
    for range in ranges.pods.iter().filter(|range| range.family() == family) {
        table.element(POD_RANGES, &range.to_string(), Some(""));
    }
    for (name, rules) in chains(family, ranges) {
        table.chain(name, rules);
    }
    for (name, base, rules) in hooks(family) {
        table.base_chain(name, base, rules);
    }
}

fn hooks(family: Family) -> Vec<Hook> {
    let ip = family.nft();
    let jump = |chain: &str| format!("jump {chain}");
    let new = |chain: &str| format!("ct state new jump {chain}");
    let guard = || vec![format!("ct state new {ip} daddr @{LOAD_BALANCER_IPS} jump {BALANCER_IPS_CHECK}")];
    let (filter, nat) = ("filter", "nat");
    vec![
        // Before translation: who may use the address of a load balancer.
        ("filter-prerouting-pre-dnat", Base::new(filter, "prerouting", DSTNAT - 10), vec![new(FIREWALL_CHECK)]),
        ("filter-output-pre-dnat", Base::new(filter, "output", DSTNAT - 10), vec![new(FIREWALL_CHECK)]),
        ("nat-prerouting", Base::new(nat, "prerouting", DSTNAT), vec![jump(SERVICES)]),
        ("nat-output", Base::new(nat, "output", DSTNAT), vec![jump(SERVICES)]),
        // After it: what still goes to the address of a load balancer goes to a port that no Service has there. The node
        // holds the address, but none of its own programs may answer under it.
        ("filter-prerouting-post-dnat", Base::new(filter, "prerouting", DSTNAT + 1), guard()),
        ("filter-output-post-dnat", Base::new(filter, "output", DSTNAT + 1), guard()),
        ("filter-input", Base::new(filter, "input", FILTER), vec![new(NODE_PORTS_CHECK), new(SERVICES_CHECK)]),
        ("filter-forward", Base::new(filter, "forward", FILTER), vec![new(SERVICES_CHECK), new(CLUSTER_IPS_CHECK)]),
        ("filter-output", Base::new(filter, "output", FILTER), vec![new(SERVICES_CHECK), new(CLUSTER_IPS_CHECK)]),
        ("nat-postrouting", Base::new(nat, "postrouting", SRCNAT), vec![jump(MASQUERADING)]),
    ]
}

fn chains(family: Family, ranges: &Ranges) -> Vec<(&'static str, Vec<String>)> {
    let (ip, loopback) = (family.nft(), family.loopback());
    let service = format!("{ip} daddr . meta l4proto . th dport vmap");
    let node_port = format!("{ip} daddr != {loopback} meta l4proto . th dport vmap");
    let not_services: String =
        of_family(&ranges.services, family).map(|range| format!(" {ip} daddr != {range}")).collect();
    let refuse = || vec!["meta l4proto tcp reject with tcp reset".to_owned(), "reject".to_owned()];
    let mut cluster_ips: Vec<String> = ranges
        .own
        .iter()
        .filter(|own| Family::of(**own) == family)
        .map(|own| format!("{ip} daddr {own} return"))
        .collect();
    cluster_ips.push(format!("{ip} daddr @{CLUSTER_IPS} goto {REJECT}"));
    cluster_ips.extend(of_family(&ranges.services, family).map(|range| format!("{ip} daddr {range} drop")));
    vec![
        (
            SERVICES,
            vec![
                format!("{service} @{SERVICE_IPS}"),
                // Node ports are on the node's own addresses, which these are not although the node answers for them.
                format!("{ip} daddr @{LOAD_BALANCER_IPS} return"),
                format!("fib daddr type local{not_services} {node_port} @{SERVICE_NODE_PORTS}"),
            ],
        ),
        (SERVICES_CHECK, vec![format!("{service} @{NO_ENDPOINT_SERVICES}")]),
        (NODE_PORTS_CHECK, vec![format!("{node_port} @{NO_ENDPOINT_NODE_PORTS}")]),
        (CLUSTER_IPS_CHECK, cluster_ips),
        (
            BALANCER_IPS_CHECK,
            vec![format!("jump {SERVICES_CHECK}"), format!("meta l4proto {{ tcp, udp, sctp }} goto {REJECT}")],
        ),
        (FIREWALL_CHECK, vec![format!("{service} @{FIREWALL_IPS}")]),
        (REJECT, refuse()),
        (MARK, vec![format!("meta mark set meta mark or {MASQUERADE}")]),
        (
            MASQUERADING,
            vec![
                format!("meta mark and {MASQUERADE} == 0 return"),
                format!("meta mark set meta mark xor {MASQUERADE}"),
                "masquerade fully-random".to_owned(),
            ],
        ),
    ]
}

fn of_family(ranges: &[Cidr], family: Family) -> impl Iterator<Item = &Cidr> {
    ranges.iter().filter(move |range| range.family() == family)
}
