//! What the command line means, checked once before anything is made.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use knarr_apiserver::allocate::{AddressRange, PortRange};
use knarr_network::Cidr;

use super::identity;
use crate::cli::{self, Part};
use crate::systemd;

/// Everything that the parts of a server are built from.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) arguments: cli::Server,
    /// The node's name.
    pub(super) node: String,
    /// The node's addresses, the primary one first.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) service_ranges: Vec<AddressRange>,
    pub(super) node_ports: PortRange,
    /// The addresses of cluster DNS; empty when it is disabled.
    pub(super) cluster_dns: Vec<IpAddr>,
    /// Whether systemd started this process from its unit.
    pub(super) under_systemd: bool,
}

impl Settings {
    pub(super) fn new(arguments: &cli::Server) -> Result<Self> {
        let data = &arguments.directories.data_dir;
        // The data plane's user must be able to pass through.
        make_directory(data, 0o711)?;
        make_directory(&arguments.directories.run_dir, 0o711)?;
        let under_systemd = systemd::is_parent();
        systemd::mark(data, under_systemd)?;
        let parse =
            |range: &Cidr| range.to_string().parse().with_context(|| format!("--service-cluster-ip-range={range}"));
        let service_ranges: Vec<AddressRange> =
            arguments.ranges.service_cluster_ip_range.iter().map(parse).collect::<Result<_>>()?;
        let first = service_ranges.first().context("--service-cluster-ip-range names no range")?;
        if service_ranges.iter().skip(1).any(|range| range.family() == first.family()) {
            bail!("--service-cluster-ip-range: at most one range per address family");
        }
        let node_ports = arguments.service_node_port_range.parse().context("--service-node-port-range")?;
        let dns = arguments.cluster_dns.unwrap_or_else(|| first.nth(10));
        if !service_ranges.iter().any(|range| range.contains(dns)) {
            bail!("--cluster-dns={dns} is in no range of --service-cluster-ip-range");
        }
        let disabled = |part| arguments.disable.contains(&part);
        Ok(Self {
            node: identity::name(data, arguments.node_name.as_deref())?,
            addresses: identity::addresses(&arguments.node_ip)?,
            cluster_dns: if disabled(Part::Dns) { Vec::new() } else { vec![dns] },
            service_ranges,
            node_ports,
            under_systemd,
            arguments: arguments.clone(),
        })
    }

    /// The addresses of the Service `kubernetes`.
    pub(super) fn kubernetes_service(&self) -> Vec<IpAddr> {
        self.service_ranges.iter().map(|range| range.nth(1)).collect()
    }

    /// The address that the node is known by.
    pub(super) fn address(&self) -> Result<IpAddr> {
        self.addresses.first().copied().context("this node has no address")
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.arguments.directories.data_dir.join(name)
    }

    pub(super) fn disabled(&self, part: Part) -> bool {
        self.arguments.disable.contains(&part)
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot make {}", path.display()))
}
