//! The wiring: containerd, images, the node's object, pods.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_base::{Components, Shutdown};
use knarr_client::cache::Selection;
use knarr_client::{Caches, Recorder};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::containerd::{Containerd, Host, Importer, Settings, State};
use crate::cri::Runtime;
use crate::image::pull::Puller;
use crate::node;
use crate::node::facts::Facts;
use crate::objects::Objects;
use crate::pod::config::Resolver;
use crate::pod::dispatch::Pods;
use crate::pod::shared::{Owners, Shared};
use crate::upkeep;

/// Why a kubelet does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd.
    #[error(transparent)]
    Containerd(#[from] crate::containerd::Error),
    /// A file or directory.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// A part of it ended.
    #[error(transparent)]
    Ended(#[from] knarr_base::lifecycle::Ended),
}

/// The API as the node sees it: everything under the identity `system:node:NAME`.
#[derive(Clone)]
pub struct Api {
    /// Writes, and reads of single objects.
    pub client: kube::Client,
    /// Shared caches of the same identity.
    pub caches: Caches,
    /// For events, as component `kubelet`.
    pub recorder: Recorder,
}

/// A node's agent.
pub struct Kubelet {
    config: Arc<Config>,
    containerd: Containerd,
    channel: Channel,
    runtime: Arc<dyn Runtime>,
    cgroups: Cgroups,
    facts: Facts,
    api: Api,
}

impl Kubelet {
    /// Looks at the host and prepares everything; starts nothing.
    ///
    /// # Errors
    /// When the host lacks something: one line that says what, and how to get it.
    pub fn new(config: Config, api: Api) -> Result<Self, Error> {
        let file = |path: &Path| {
            let path = path.display().to_string();
            move |error| Error::File(path, error)
        };
        for directory in [&config.data, &config.run, &config.pods(), &config.logs(), &config.images] {
            std::fs::create_dir_all(directory).map_err(file(directory))?;
        }
        let host = Host::look(&config.data)?;
        let cgroups = Cgroups::detect(config.cgroup_driver, &config.cgroup_root).map_err(file(Path::new("cgroups")))?;
        let facts = Facts::look(&config.data).map_err(file(Path::new("/proc")))?;
        let settings = Settings {
            root: config.data.join("containerd"),
            state: config.run.join("containerd"),
            socket: config.socket(),
            sandbox_image: config.sandbox_image.0.clone(),
            cni_bin: config.cni_bin.clone(),
            cni_conf: config.cni_conf.clone(),
            registries: config.data.join("registries"),
            systemd_cgroup: config.cgroup_driver == crate::cgroup::Driver::Systemd,
            restrict_oom_score_adj: host.restrict_oom_score_adj,
            snapshotter: host.snapshotter,
            handlers: config.runtime_handlers.clone(),
        };
        let containerd = Containerd::new(settings, &host, config.starter.clone(), cgroups.clone());
        let channel = containerd.channel();
        let runtime: Arc<dyn Runtime> = Arc::new(containerd.cri());
        Ok(Self { config: Arc::new(config), containerd, channel, runtime, cgroups, facts, api })
    }

    /// The runtime, for the server of logs and exec.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    /// Runs until the shutdown. containerd and all pods go on.
    ///
    /// # Errors
    /// When a part of it ends by itself.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self { config, containerd, channel, runtime, cgroups, facts, api } = self;
        let state = containerd.state();
        let pods = api.caches.select::<Pod>(&Selection::fields(format!("spec.nodeName={}", config.node_name)));
        let nodes = api.caches.select::<Node>(&Selection::fields(format!("metadata.name={}", config.node_name)));
        let shared = Arc::new(Shared {
            node_name: config.node_name.clone(),
            host_ips: config.node_ips.iter().map(ToString::to_string).collect(),
            pods: config.pods(),
            logs: config.logs(),
            resolver: Resolver {
                cluster: config.cluster_dns.iter().map(ToString::to_string).collect(),
                domain: config.cluster_domain.clone(),
                ..Resolver::default()
            },
            resolv_conf: config.resolv_conf.clone(),
            memory: facts.memory,
            pids: config.pod_pids,
            cgroups: cgroups.clone(),
            runtime: runtime.clone(),
            client: api.client.clone(),
            recorder: api.recorder,
            puller: Puller::new(runtime.clone()),
            services: api.caches.of(),
            nodes: nodes.clone(),
            config_maps: Objects::new(api.client.clone()),
            secrets: Objects::new(api.client.clone()),
            owners: Owners::default(),
        });
        let mut parts = Components::new();
        let drain = parts.shutdown();
        parts.spawn("containerd", containerd.run(drain.clone()));
        let sync = node::Sync {
            config: config.clone(),
            facts: facts.clone(),
            runtime: runtime.clone(),
            runtime_state: state.clone(),
            client: api.client.clone(),
            nodes: nodes.clone(),
        };
        parts.spawn("node status", always(sync.run(drain.clone())));
        let lease = (api.client, config.node_name.clone(), drain.clone());
        parts.spawn("node lease", async move {
            node::renew(lease.0, nodes, &lease.1, lease.2).await;
            Ok::<_, Error>(())
        });
        parts.spawn(
            "upkeep",
            always(upkeep::run(
                runtime,
                Importer::new(channel.clone(), config.data.clone()),
                config.data.clone(),
                config.logs(),
                drain.clone(),
            )),
        );
        parts.spawn("pods", start_pods(config, cgroups, facts, shared, pods, channel, state, drain.clone()));
        let _forwarded = AbortOnDropHandle::new(tokio::spawn(async move {
            shutdown.wait().await;
            drain.start();
        }));
        Ok(parts.run(std::time::Duration::from_secs(10)).await?)
    }
}

/// A part that ends only with the shutdown.
async fn always(part: impl Future<Output = ()>) -> Result<(), Error> {
    part.await;
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "wiring")]
async fn start_pods(
    config: Arc<Config>,
    cgroups: Cgroups,
    facts: Facts,
    shared: Arc<Shared>,
    pods: knarr_client::Cache<Pod>,
    channel: Channel,
    mut state: tokio::sync::watch::Receiver<State>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let milli = facts.cpus.saturating_mul(1000);
    let made = cgroups.make_base(crate::pod::spec::shares(milli)).await;
    made.map_err(|error| Error::File("cgroups".into(), error))?;
    let up = shutdown.or(state.wait_for(|state| matches!(state, State::Up(_)))).await.map(|up| up.is_ok());
    if up != Some(true) {
        return Ok(());
    }
    let importer = Importer::new(channel, config.data.clone());
    importer.embedded("sandbox", config.sandbox_image.1).await?;
    let directory = config.images.clone();
    let archives = tokio::spawn(async move {
        if let Err(error) = importer.directory(&directory).await {
            tracing::error!("cannot import images: {error}");
        }
    });
    let _archives = AbortOnDropHandle::new(archives);
    Pods::new(shared, pods, state).run(shutdown).await;
    Ok(())
}
