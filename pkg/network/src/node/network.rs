//! The component: makes the node's network once its pod range is known, and keeps it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Node;
use knarr_base::Shutdown;
use knarr_base::readiness::Readiness;
use knarr_client::Cache;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::SocketAddr;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{check_overlap, firewall, table, uplink};
use crate::error::Doing;
use crate::netlink::{Address, Netlink, Route};
use crate::nft::{Monitor, Table};
use crate::{Cidr, Error, Family, Result, bridge, cni};

/// How often everything is looked at although the kernel reported nothing: other firewalls report nothing to us.
const LOOK: Duration = Duration::from_mins(5);

/// Links and addresses change in bursts, with each pod that starts too.
const GATHER: Duration = Duration::from_millis(200);

/// How soon something that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What a node's network depends on.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// knarr's data directory.
    pub data_dir: PathBuf,
    /// knarr's binary, which containerd executes as the CNI plugin.
    pub binary: PathBuf,
    /// The ranges of all nodes' pods.
    pub pod_ranges: Vec<Cidr>,
    /// The ranges of Services.
    pub service_ranges: Vec<Cidr>,
    /// Service addresses that the node answers for itself: the cluster DNS's.
    pub own: Vec<IpAddr>,
}

/// What the API says of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Given {
    /// The ranges of its pods.
    subnets: Vec<Cidr>,
    /// Its own addresses.
    ips: Vec<IpAddr>,
}

/// The network of a node, without Services.
pub struct NodeNetwork {
    config: Config,
    nodes: Cache<Node>,
    before_ready: Readiness,
}

impl NodeNetwork {
    /// The network of a node that reads its range from `nodes`. The CNI plugin, which makes the node ready for pods, is
    /// installed when `before_ready` is: when Services work.
    #[must_use]
    pub const fn new(config: Config, nodes: Cache<Node>, before_ready: Readiness) -> Self {
        Self { config, nodes, before_ready }
    }

    /// Makes and keeps the network until the drain. It stays when this ends.
    ///
    /// # Errors
    /// When the cluster's ranges are in use on this host.
    pub async fn run(self, shutdown: Shutdown) -> Result<()> {
        let ranges = [&self.config.pod_ranges[..], &self.config.service_ranges[..]].concat();
        check_overlap(&mut Netlink::open()?, &ranges)?;
        shutdown.or(self.work()).await.unwrap_or(Ok(()))
    }

    async fn work(&self) -> Result<()> {
        let mut links = Links::watch()?;
        let mut tables = Monitor::open()?;
        let mut nodes = self.nodes.subscribe();
        let mut foundation = Foundation::new(self.config.clone());
        let mut surroundings = Surroundings::default();
        loop {
            let next = self.keep(&mut foundation, &mut surroundings).await;
            tokio::select! {
                _ = nodes.next() => while nodes.ready().is_some() {},
                changed = links.changed() => changed?,
                () = tables.lost() => foundation.distrust(),
                () = tokio::time::sleep_until(next) => foundation.distrust(),
            }
        }
    }

    /// Says when to look again.
    async fn keep(&self, foundation: &mut Foundation, surroundings: &mut Surroundings) -> Instant {
        let node = self.nodes.get("", &self.config.node);
        let given = node.map(|node| given(&node)).unwrap_or_default();
        if given.subnets.is_empty() {
            return Instant::now() + LOOK;
        }
        match self.apply_and_install(&given, foundation, surroundings).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "the node's network is not as it should be");
                Instant::now() + RETRY
            }
        }
    }

    async fn apply_and_install(
        &self,
        given: &Given,
        foundation: &mut Foundation,
        surroundings: &mut Surroundings,
    ) -> Result<Instant> {
        let mtu = foundation.apply(&given.subnets, &given.ips).await?;
        let install = cni::Install {
            data_dir: self.config.data_dir.clone(),
            binary: self.config.binary.clone(),
            subnets: given.subnets.clone(),
            mtu,
        };
        if surroundings.installed.as_ref() != Some(&install) {
            self.before_ready.ready().await;
            cni::install(&install)?;
            surroundings.installed = Some(install);
        }
        match surroundings.ask_again {
            Some(next) if Instant::now() < next => Ok(next),
            _ => {
                let asked = tokio::task::spawn_blocking(firewall::admit).await;
                asked.map_err(std::io::Error::from).doing(|| "ask other firewalls")??;
                Ok(*surroundings.ask_again.insert(Instant::now() + LOOK))
            }
        }
    }
}

/// What others know of the network of pods.
#[derive(Debug, Default)]
struct Surroundings {
    /// What containerd was told.
    installed: Option<cni::Install>,
    /// When other firewalls are asked again: starting their programs costs more than a pod's start.
    ask_again: Option<Instant>,
}

fn given(node: &Node) -> Given {
    let spec = node.spec.as_ref();
    let subnets = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    Given {
        subnets: subnets.filter_map(|range| range.parse().ok()).collect(),
        ips: internal.filter_map(|address| address.address.parse().ok()).collect(),
    }
}

/// What pods need in the kernel without any Service, in the calling thread's network namespace.
#[derive(Debug)]
pub struct Foundation {
    config: Config,
    subnets: Vec<Cidr>,
    tables: Vec<Table>,
}

impl Foundation {
    /// Nothing yet.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, subnets: Vec::new(), tables: Vec::new() }
    }

    /// Makes everything for a node with these `subnets` and addresses, or finds it made. Returns the largest packet that
    /// pods may send.
    ///
    /// # Errors
    /// The first thing that failed.
    pub async fn apply(&mut self, subnets: &[Cidr], node_ips: &[IpAddr]) -> Result<u32> {
        let mtu = make_links(&self.config, subnets, node_ips)?;
        if self.subnets != subnets {
            let used = |family: &Family| subnets.iter().any(|subnet| subnet.family() == *family);
            let families = Family::ALL.into_iter().filter(used);
            self.tables = families.map(|family| table::table(family, subnets, &self.config.pod_ranges)).collect();
            self.subnets = subnets.to_vec();
        }
        for table in &mut self.tables {
            table.sync().await?;
        }
        Ok(mtu)
    }

    /// Forgets what is known of the tables: the next time compares them.
    pub fn distrust(&mut self) {
        self.tables.iter_mut().for_each(Table::distrust);
    }
}

fn make_links(config: &Config, subnets: &[Cidr], node_ips: &[IpAddr]) -> Result<u32> {
    let mut netlink = Netlink::open()?;
    let mtu = uplink::mtu(&mut netlink, node_ips)?;
    let bridge = bridge::ensure(&mut netlink, subnets, mtu)?;
    let present = netlink.addresses()?;
    for ip in &config.own {
        let length = Cidr::host(*ip).length();
        let address = Address { link: bridge.index, ip: *ip, length, host_only: true, expires: None, ours: true };
        if !present.contains(&address) {
            netlink.set_address(&address)?;
        }
    }
    // Service addresses have a route of their own: translation happens after routing, and there may be no default route.
    for range in &config.service_ranges {
        let source = subnets.iter().find(|subnet| subnet.family() == range.family());
        let source = source.map(|subnet| bridge::gateway(*subnet)).transpose()?;
        let route = Route { to: *range, link: Some(bridge.index), gateway: None, source, ours: true };
        if source.is_some() && !netlink.routes(range.family())?.contains(&route) {
            netlink.set_route(&route)?;
        }
    }
    uplink::forward(&mut netlink)?;
    Ok(mtu)
}

/// What the kernel reports of links and addresses.
struct Links {
    reports: mpsc::UnboundedReceiver<Report>,
    connection: JoinHandle<()>,
}

type Report = (rtnetlink::packet_core::NetlinkMessage<rtnetlink::packet_route::RouteNetlinkMessage>, SocketAddr);

impl Links {
    fn watch() -> Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let opened = rtnetlink::new_multicast_connection(&groups);
        let (connection, _requests, reports) = opened.doing(|| "watch the links")?;
        Ok(Self { reports, connection: tokio::spawn(connection) })
    }

    /// Waits for a change and those that come with it: a pod's start changes several things.
    async fn changed(&mut self) -> Result<()> {
        if self.reports.next().await.is_none() {
            return Err(Error::Malformed("the kernel reports no links any more".into()));
        }
        tokio::time::sleep(GATHER).await;
        while self.reports.next().now_or_never().flatten().is_some() {}
        Ok(())
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_says_its_range_and_addresses() {
        let node = serde_json::from_value(json!({
            "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.42.3.0/24", "podCIDRs": ["10.42.3.0/24", "fd00:42:3::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.0.2.1"},
            ]},
        }))
        .unwrap();
        let subnets = vec!["10.42.3.0/24".parse().unwrap(), "fd00:42:3::/64".parse().unwrap()];
        assert_eq!(given(&node), Given { subnets, ips: vec![IpAddr::from([192, 0, 2, 1])] });
        assert_eq!(given(&Node::default()), Given::default());
    }
}
