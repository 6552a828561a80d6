//! Cluster DNS: Services, headless Services and pod host names from shared caches, the rest forwarded.
//!
//! The answers follow the Kubernetes DNS specification 1.1.0
//! (<https://github.com/kubernetes/dns/blob/master/docs/specification.md>). The zone is an index in memory, changed one
//! Service at a time; a copy on disk lets a process that starts while the API server is away answer at once.

mod copy;
mod forward;
mod handler;
mod records;
mod sync;
mod zone;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hickory_server::server::Server;
use knarr_base::Shutdown;
use knarr_client::cache::Caches;

pub use zone::Zone;

/// How long a TCP client may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that may wait for one slow TCP client.
const TCP_BUFFER: usize = 32;

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's domain, for example `cluster.local`.
    pub domain: String,
    /// Where to listen, over UDP and TCP.
    pub addresses: Vec<SocketAddr>,
    /// Names the resolvers for everything outside the cluster's domain.
    pub resolv_conf: PathBuf,
    /// Where the zone's copy is kept.
    pub copy: PathBuf,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is no DNS name.
    #[error("cluster domain {domain:?}: {cause}")]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        cause: String,
    },
    /// An address is not ours, in use, or not allowed.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        cause: std::io::Error,
    },
    /// A listener failed.
    #[error("DNS server: {0}")]
    Serve(String),
}

/// Answers queries until the drain starts. The listeners are open when `ready` is dropped.
///
/// # Errors
/// When an address cannot be listened on, or a listener fails.
pub async fn run(
    config: Config,
    caches: &Caches,
    ready: knarr_base::readiness::Pending,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let zone = Zone::new(&config.domain)
        .map_err(|cause| Error::Domain { domain: config.domain.clone(), cause: cause.to_string() })?;
    let zone = Arc::new(RwLock::new(zone));
    let forwarder = forward::Forwarder::new(config.resolv_conf.clone(), config.addresses.clone());
    let mut server = Server::new(handler::Handler::new(zone.clone(), forwarder));
    for &address in &config.addresses {
        let failed = |cause| Error::Listen { address, cause };
        server.register_socket(tokio::net::UdpSocket::bind(address).await.map_err(failed)?);
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        server.register_listener(listener, TCP_IDLE, TCP_BUFFER);
    }
    let sync = sync::Sync::new(caches, zone, copy::Copy::new(config.copy));
    drop(ready);
    tokio::select! {
        () = shutdown.wait() => server.shutdown_gracefully().await.map_err(|error| Error::Serve(error.to_string())),
        ended = server.block_until_done() => ended.map_err(|error| Error::Serve(error.to_string())),
        never = sync.run() => match never {},
    }
}
