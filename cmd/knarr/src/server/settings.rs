//! What the command line means, checked once before anything is made.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use knarr_apiserver::allocate::{AddressRange, PortRange};
use knarr_network::Cidr;

use super::identity;
use crate::cli::{self, Part};
use crate::snapshot::place;
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
        let under_systemd = systemd::is_parent();
        if under_systemd {
            check_units(&arguments.directories)?;
        }
        place::settle(data)?;
        // The data plane's user must be able to pass through.
        make_directory(data, 0o711)?;
        make_directory(&arguments.directories.run_dir, 0o711)?;
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

    /// The address that the cluster knows the API server by: as upstream's `--advertise-address`, the one that it listens
    /// on, else the node's.
    pub(super) fn advertised(&self) -> Result<IpAddr> {
        let bound = Some(self.arguments.bind_address).filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
        bound.or_else(|| self.addresses.first().copied()).context("this node has no address")
    }

    /// Where programs of this machine reach the API server.
    pub(super) fn url(&self) -> String {
        url(self.arguments.bind_address, self.arguments.secure_port)
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.arguments.directories.data_dir.join(name)
    }

    pub(super) fn disabled(&self, part: Part) -> bool {
        self.arguments.disable.contains(&part)
    }
}

fn url(bound: IpAddr, port: u16) -> String {
    let reached = if bound.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { bound };
    format!("https://{}", SocketAddr::new(reached, port))
}

/// The units in `systemd/` name these directories.
fn check_units(directories: &cli::Directories) -> Result<()> {
    let cli::Directories { data_dir, run_dir, .. } = directories;
    ensure!(
        data_dir == Path::new(cli::DATA_DIR) && run_dir == Path::new(cli::RUN_DIR),
        "--data-dir={} --run-dir={}: knarr's systemd units expect {} (make it a link to another place) and {}",
        data_dir.display(),
        run_dir.display(),
        cli::DATA_DIR,
        cli::RUN_DIR
    );
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_machine_reach_the_server_where_it_listens() {
        for (bound, expected) in [
            ("0.0.0.0", "https://127.0.0.1:6443"),
            ("::", "https://127.0.0.1:6443"),
            ("192.0.2.1", "https://192.0.2.1:6443"),
            ("fd00::1", "https://[fd00::1]:6443"),
        ] {
            assert_eq!(url(bound.parse().unwrap(), 6443), expected);
        }
    }

    #[test]
    fn under_systemd_the_directories_are_those_of_the_units() {
        let directories = |data_dir: &str| cli::Directories {
            config: PathBuf::new(),
            data_dir: data_dir.into(),
            run_dir: cli::RUN_DIR.into(),
        };
        check_units(&directories(cli::DATA_DIR)).unwrap();
        let refused = check_units(&directories("/data")).unwrap_err().to_string();
        assert!(refused.starts_with("--data-dir=/data"), "{refused}");
    }
}
