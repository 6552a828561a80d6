//! The command line. Flags are named as upstream names them.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use knarr_network::Cidr;

use crate::{check, config_file, dataplane, etcd, reset, secrets, server, snapshot, status, store};

/// What `--version` prints: the Kubernetes version that is served, and knarr's own.
pub(crate) const VERSION: &str = concat!("v1.35.4+knarr", env!("CARGO_PKG_VERSION"));

/// Where a node keeps its state unless told otherwise.
pub(crate) const DATA_DIR: &str = "/var/lib/knarr";
/// Where it keeps what a reboot may remove.
pub(crate) const RUN_DIR: &str = "/run/knarr";

#[derive(Debug, Parser)]
#[command(name = "knarr", version = VERSION, about = "Kubernetes for bare metal, in one binary", propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole node: API server, store, controllers, scheduler and node agent
    Server(Box<Server>),
    /// Run the node agent of a machine that joins a cluster
    Agent(Agent),
    /// Run what answers while the server is down: cluster DNS
    Dataplane(Dataplane),
    /// Act as the CNI plugin; containerd runs this
    Cni,
    /// Remove everything that knarr made on this machine
    Reset(Reset),
    /// Show how the node on this machine is doing
    Status(Directories),
    /// Say what this machine lacks, and the command that mends it
    Check(Check),
    /// Work with what Secrets are sealed by
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Save the cluster to a file, and restore it
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Look after the store of a server that does not run
    #[command(subcommand)]
    Store(store::Command),
}

/// Where a node keeps its files.
#[derive(Clone, Debug, Args)]
pub(crate) struct Directories {
    /// Configuration file, a YAML mapping of flags to values
    #[arg(long, value_name = "FILE", default_value = config_file::DEFAULT)]
    pub(crate) config: PathBuf,
    /// Directory of the node's state
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// Directory of sockets and other things that a reboot may remove
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    pub(crate) run_dir: PathBuf,
}

/// The cluster's addresses.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ranges {
    /// Range of Pod addresses
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.42.0.0/16")]
    pub(crate) cluster_cidr: Vec<Cidr>,
    /// Range of Service addresses
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.43.0.0/16")]
    pub(crate) service_cluster_ip_range: Vec<Cidr>,
}

/// `knarr server`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) directories: Directories,
    /// Name of the node; kept from the first start, the host's name by default
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Addresses of the node, one per family; the address of the default route or of the first link by default
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(crate) node_ip: Vec<IpAddr>,
    /// Labels to register the node with
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub(crate) node_labels: Vec<String>,
    /// Taints to register the node with
    #[arg(long, value_name = "KEY=VALUE:EFFECT", value_delimiter = ',')]
    pub(crate) register_with_taints: Vec<String>,
    #[command(flatten)]
    pub(crate) ranges: Ranges,
    /// Range of ports for Services of type NodePort
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767")]
    pub(crate) service_node_port_range: String,
    /// Address of the cluster's DNS; the tenth of the Service range by default
    #[arg(long, value_name = "IP")]
    pub(crate) cluster_dns: Option<IpAddr>,
    /// Domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// More names and addresses for the API server's certificate
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) tls_san: Vec<String>,
    /// Address that the API server listens on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// Port that the API server listens on
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub(crate) secure_port: u16,
    /// Requests that only read and may be in flight at once; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub(crate) max_requests_inflight: usize,
    /// Requests that write and may be in flight at once; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_mutating_requests_inflight: usize,
    /// How often old revisions of objects are forgotten; what is younger than this is kept
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = interval)]
    pub(crate) etcd_compaction_interval: Duration,
    #[command(flatten)]
    pub(crate) etcd: etcd::Etcd,
    /// EncryptionConfiguration that says what is sealed at rest; by default a file in the data directory, for Secrets
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) snapshots: snapshot::schedule::Flags,
    /// Cgroup below which everything of this node lives
    #[arg(long, value_name = "CGROUP", default_value = "/")]
    pub(crate) cgroup_root: String,
    /// Parts to leave out
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) disable: Vec<Part>,
}

/// A part of knarr that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Cluster DNS.
    Dns,
    /// Addresses for Services of type LoadBalancer.
    Loadbalancer,
}

/// `knarr agent`: its flags are parsed so that units and scripts can be written now.
#[derive(Clone, Debug, Args)]
struct Agent {
    #[command(flatten)]
    directories: Directories,
    /// Address of the API server to join
    #[arg(long, value_name = "URL")]
    server: String,
    /// Bootstrap token
    #[arg(long, value_name = "TOKEN")]
    token: String,
}

/// `knarr check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    /// Configuration file, a YAML mapping of flags to values
    #[arg(long, value_name = "FILE", default_value = config_file::DEFAULT)]
    config: PathBuf,
    #[command(flatten)]
    pub(crate) ranges: Ranges,
}

/// `knarr dataplane`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dataplane {
    #[command(flatten)]
    pub(crate) directories: Directories,
}

/// `knarr reset`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) directories: Directories,
    /// Cgroup below which everything of this node lives
    #[arg(long, value_name = "CGROUP", default_value = "/")]
    pub(crate) cgroup_root: String,
}

/// A duration as upstream's flags take it, `5m0s`, that is longer than nothing.
fn interval(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| "it must be positive".into())
}

/// Parses the command line and does what it says; one line on standard error and exit code 1 when that fails.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // The plugin has a protocol of its own for errors.
    if arguments.get(1).is_some_and(|command| command == "cni") {
        return knarr_network::cni::main();
    }
    match config_file::merge(arguments, &Cli::command()).and_then(parse).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knarr: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints help and version itself. What clap says about a wrong argument is several lines: the first is the error.
fn parse(arguments: Vec<OsString>) -> anyhow::Result<Command> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(cli.command),
        Err(told) if told.use_stderr() && told.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let text = told.to_string();
            let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            anyhow::bail!("{} (see --help)", lines.join(" ").trim_start_matches("error: "))
        }
        Err(told) => told.exit(),
    }
}

/// Prints a line of a command's output.
#[allow(clippy::print_stdout, reason = "this is what commands are asked for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Server(server) => server::run(&server),
        Command::Dataplane(dataplane) => dataplane::run(&dataplane),
        Command::Reset(reset) => reset::run(&reset),
        Command::Status(directories) => status::run(&directories),
        Command::Check(check) => check::run(&check),
        Command::Secrets(command) => secrets::run(&command),
        Command::Snapshot(command) => snapshot::run(&command),
        Command::Store(command) => store::run(&command),
        Command::Cni => anyhow::bail!("the CNI plugin takes no arguments: the runtime runs it"),
        Command::Agent(agent) => {
            anyhow::bail!("joining a cluster ({}) is not possible yet: run `knarr server`", agent.server)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_as_upstream_writes_them() {
        for (text, seconds) in [
            ("5m0s", Some(300)),
            ("20s", Some(20)),
            ("1h", Some(3600)),
            ("0", None),
            ("0s", None),
            ("-5m", None),
            ("x", None),
        ] {
            assert_eq!(interval(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
