//! Cluster DNS: Services, headless Services and pod host names from shared caches, the rest forwarded.
//!
//! The answers follow the Kubernetes DNS specification 1.1.0
//! (<https://github.com/kubernetes/dns/blob/master/docs/specification.md>). The zone is an index in memory, changed one
//! Service at a time; a copy on disk lets a process that starts while the API server is away answer at once.

mod copy;
mod forward;
mod handler;
mod listen;
mod records;
mod sync;
mod zone;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use hickory_server::server::Server;
use knarr_base::Shutdown;
use knarr_client::cache::Caches;

pub use listen::Listeners;
pub use zone::Zone;

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's domain, for example `cluster.local`.
    pub domain: String,
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

/// Answers queries that arrive at `listeners` until the drain starts.
///
/// # Errors
/// When the domain is no DNS name, or a listener fails.
pub async fn run(config: Config, listeners: Listeners, caches: &Caches, shutdown: Shutdown) -> Result<(), Error> {
    let zone = Zone::new(&config.domain)
        .map_err(|cause| Error::Domain { domain: config.domain.clone(), cause: cause.to_string() })?;
    let zone = Arc::new(RwLock::new(zone));
    let forwarder = forward::Forwarder::new(config.resolv_conf, listeners.addresses());
    // The copy on disk is in the zone before the first query is taken.
    let sync = sync::Sync::new(caches, zone.clone(), copy::Copy::new(config.copy));
    let mut server = Server::new(handler::Handler::new(zone, forwarder));
    listeners.register(&mut server)?;
    tokio::select! {
        () = shutdown.wait() => server.shutdown_gracefully().await.map_err(|error| Error::Serve(error.to_string())),
        ended = server.block_until_done() => ended.map_err(|error| Error::Serve(error.to_string())),
        never = sync.run() => match never {},
    }
}
