//! Everything that a node does for its network, in the order in which it has to come up.

use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use knarr_base::Shutdown;
use knarr_base::readiness::Readiness;
use knarr_client::events::Sink;
use knarr_client::{Cache, Caches};

use crate::lb::Speaker;
use crate::node::{self, NodeNetwork};
use crate::service::{self, Locality, Proxy};
use crate::{Cidr, Result};

/// What the network of a node depends on.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// knarr's data directory.
    pub data_dir: PathBuf,
    /// knarr's binary, which containerd executes as the CNI plugin.
    pub binary: PathBuf,
    /// The ranges of all nodes' pods (`--cluster-cidr`).
    pub pod_ranges: Vec<Cidr>,
    /// The ranges of Services (`--service-cluster-ip-range`).
    pub service_ranges: Vec<Cidr>,
    /// The addresses of the cluster DNS (`--cluster-dns`), which the data plane answers for on this node.
    pub cluster_dns: Vec<IpAddr>,
    /// Whether to announce addresses of load balancers.
    pub announce: bool,
}

/// The network of a node: its pods' links, the service proxy, and the load-balancer speaker.
pub struct Network {
    node: NodeNetwork,
    proxy: Proxy,
    speaker: Option<Speaker>,
    services_ready: Readiness,
}

impl Network {
    /// The network of a node that reads `caches` under the node's identity; `pods` holds at least those of this node.
    /// Events are recorded with `client`.
    #[must_use]
    pub fn new(config: Config, caches: &Caches, pods: Cache<Pod>, client: &kube::Client, events: &Sink) -> Self {
        let services_ready = Readiness::new();
        let recorder = |component: &str| events.recorder(client.clone(), component, &config.node);
        let proxy = Proxy::new(
            service::Config {
                here: Locality { node: config.node.clone(), zone: String::new() },
                pod_ranges: config.pod_ranges.clone(),
                service_ranges: config.service_ranges.clone(),
                own: config.cluster_dns.clone(),
            },
            caches.of(),
            caches.of(),
            caches.of(),
            recorder("kube-proxy"),
            services_ready.task("the rules of Services"),
        );
        let speaker = config.announce.then(|| {
            let ranges = config.service_ranges.clone();
            Speaker::new(config.node.clone(), caches, pods, ranges, recorder("metallb-speaker"))
        });
        let node = node::Config {
            node: config.node,
            data_dir: config.data_dir,
            binary: config.binary,
            pod_ranges: config.pod_ranges,
            service_ranges: config.service_ranges,
            own: config.cluster_dns,
        };
        let node = NodeNetwork::new(node, caches.of(), services_ready.clone());
        Self { node, proxy, speaker, services_ready }
    }

    /// Runs until the drain. Everything stays in the kernel when it ends; [`crate::reset`] removes it.
    ///
    /// # Errors
    /// When the cluster's ranges are in use on this host.
    pub async fn run(self, shutdown: Shutdown) -> Result<()> {
        let speaker = async {
            // The address of a load balancer must not lead to the host itself while its Service has no rules.
            let ready = shutdown.or(self.services_ready.ready()).await;
            if let (Some(()), Some(speaker)) = (ready, self.speaker) {
                let Ok(()) = speaker.run(shutdown.clone()).await;
            }
            Ok(())
        };
        tokio::try_join!(self.node.run(shutdown.clone()), self.proxy.run(shutdown.clone()), speaker)?;
        shutdown.wait().await;
        Ok(())
    }
}
