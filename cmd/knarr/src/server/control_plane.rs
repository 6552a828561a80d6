//! API server, bootstrap objects, controllers, scheduler.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use knarr_api::user::UserInfo;
use knarr_apiserver::admission::default_plugins;
use knarr_apiserver::allocate::ServiceHook;
use knarr_apiserver::authn::service_account::ServiceAccountTokens;
use knarr_apiserver::authn::{ClusterAuthenticator, discovery};
use knarr_apiserver::authz::{Aggregation, Authorize, ClusterAuthorizer, node::NodeAuthorizer, rbac::Rbac};
use knarr_apiserver::bootstrap::rbac::node_rules;
use knarr_apiserver::bootstrap::{self, Bootstrap};
use knarr_apiserver::registry::{Hooks, Registry};
use knarr_apiserver::subresource::{Kubelets, Subresources};
use knarr_apiserver::{Access, ApiServer, Config, Pages, reviews};
use knarr_base::readiness::Readiness;
use knarr_base::{Components, Shutdown};
use knarr_client::Caches;
use knarr_client::events;
use knarr_client::transport::in_process;
use knarr_network::lb::Allocator;
use knarr_pki::{ClusterPki, Kubeconfig, Names, tls};
use knarr_scheduler::{Clients, Scheduler};
use knarr_store::{EtcdStore, LogStore, Shared};

use super::schedule::Schedule;
use super::sealing::Sealing;
use super::settings::Settings;
use super::snapshots::Snapshots;
use crate::cli::Part;
use crate::snapshot::place::STORE;

/// Who issues service account tokens.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The service account that gives Services their addresses.
const ALLOCATOR: &str = "load-balancer-controller";

/// What the node's agent needs of the control plane.
pub(super) struct ControlPlane {
    pub(super) pki: Arc<ClusterPki>,
    pub(super) readiness: Readiness,
    pub(super) events: events::Sink,
    /// Reads of the control plane, shared by all its parts.
    pub(super) caches: Caches,
    router: axum::Router,
}

impl ControlPlane {
    /// A client that acts as `user`.
    pub(super) fn client(&self, user: UserInfo) -> kube::Client {
        in_process(self.router.clone(), user)
    }
}

/// Builds the control plane and spawns its parts.
pub(super) async fn build(
    settings: &Settings,
    pki: Arc<ClusterPki>,
    sealing: Arc<Sealing>,
    listeners: Vec<TcpListener>,
    components: &mut Components,
) -> Result<ControlPlane> {
    let shutdown = components.shutdown();
    let readiness = Readiness::new();
    let kubeconfig = AdminKubeconfig::new(settings, &pki);
    kubeconfig.write()?;
    components.spawn("administrator's kubeconfig", kubeconfig.keep(shutdown.clone()));

    let (rbac, node) = (Arc::<Rbac>::default(), Arc::new(NodeAuthorizer::new(node_rules())));
    let cluster_authorizer = Arc::new(ClusterAuthorizer { node, rbac: rbac.clone() });
    let authorizer: Arc<dyn Authorize> = cluster_authorizer.clone();
    let hook = ServiceHook::new(settings.service_ranges.clone(), settings.node_ports);
    let hooks: Hooks = HashMap::from([(("", "services"), vec![Arc::new(hook) as _])]);
    let (registry, feed) = Registry::open(sealing.store(), default_plugins(&authorizer, &rbac), hooks).await?;
    let tokens = Arc::new(ServiceAccountTokens::new(pki.clone(), ISSUER.to_owned(), registry.clone()));
    let authenticator = Arc::new(ClusterAuthenticator::new(tokens.clone(), true));
    let mut subresources = Subresources::default();
    let needs =
        reviews::Dependencies { authorizer: authorizer.clone(), rbac, tokens: tokens.clone(), pki: pki.clone() };
    reviews::add(&mut subresources, &needs);
    let kubelet_tls = tls::client(&pki.apiserver_kubelet_client, &pki.ca)?;
    Kubelets::new(Arc::new(kubelet_tls), shutdown.clone()).register(&mut subresources);
    let address = SocketAddr::new(settings.advertised()?, settings.arguments.secure_port).to_string();
    let snapshots = Snapshots::new(settings, &sealing);
    let pages = discovery::add(Pages::default(), pki.clone(), ISSUER, &address);
    let pages = snapshots.add(sealing.add(pages));
    let config = Config {
        advertise_address: address,
        max_requests_inflight: settings.arguments.max_requests_inflight,
        max_mutating_requests_inflight: settings.arguments.max_mutating_requests_inflight,
        compaction_interval: settings.arguments.etcd_compaction_interval,
        readiness: readiness.clone(),
        ..Config::default()
    };
    let access = Access { authenticator, authorizer };
    let server = ApiServer::new(config, registry.clone(), access, subresources, pages);
    let tls = tls::Reception::new(&pki.apiserver, &pki.ca)?;

    components.spawn("authorizer", cluster_authorizer.feed(&registry, &readiness).run(shutdown.clone()));
    let bootstrap = Bootstrap::new(registry.clone(), &pki, &bootstrap_settings(settings)?, readiness.task("bootstrap"));
    components.spawn("bootstrap", bootstrap.run(shutdown.clone()));
    components.spawn("role aggregation", Aggregation::new(registry, readiness.clone()).run(shutdown.clone()));
    components.spawn("sealing", sealing.run(shutdown.clone()));
    components.spawn("certificates", pki.clone().run(shutdown.clone()));
    let router = server.router();
    components.spawn("API server", server.run(feed, listeners, tls, shutdown.clone()));

    let (events, writer) = events::channel();
    components.spawn("events", writer.run(shutdown.clone()));
    let manager = in_process(router.clone(), UserInfo::new("system:kube-controller-manager", &[]));
    let (caches, watches) = Caches::new(manager);
    components.spawn("watches", watches.run(shutdown));
    let control_plane = ControlPlane { pki, readiness, events, caches, router };
    // Before the roles are known, everybody but the administrators would be refused.
    components.meanwhile(control_plane.readiness.ready()).await?;
    let recorder =
        control_plane.events.recorder(control_plane.client(UserInfo::node(&settings.node)), "knarr", &settings.node);
    let schedule = Schedule::new(settings, snapshots, recorder);
    components.spawn("snapshots", schedule.run(components.shutdown()));
    spawn_clients(settings, &control_plane, components);
    Ok(control_plane)
}

/// Controllers and scheduler: clients of the API like any other.
fn spawn_clients(settings: &Settings, control_plane: &ControlPlane, components: &mut Components) {
    let router = control_plane.router.clone();
    let deps = knarr_controllers::Deps {
        caches: control_plane.caches.clone(),
        client: Arc::new(move |name| in_process(router.clone(), UserInfo::service_account("kube-system", name))),
        events: control_plane.events.clone(),
        settings: Arc::new(knarr_controllers::Settings {
            root_ca: control_plane.pki.ca.certificate_pem().to_owned(),
            cluster_cidrs: settings.arguments.ranges.cluster_cidr.iter().map(ToString::to_string).collect(),
        }),
    };
    knarr_controllers::spawn(components, &deps);
    let client = control_plane.client(UserInfo::new("system:kube-scheduler", &[]));
    let recorder = control_plane.events.recorder(client.clone(), "default-scheduler", "");
    let scheduler = Scheduler::new(Clients { caches: control_plane.caches.clone(), client, recorder });
    components.spawn("scheduler", scheduler.run(components.shutdown()));
    if !settings.disabled(Part::Loadbalancer) {
        let client = control_plane.client(UserInfo::service_account("kube-system", ALLOCATOR));
        let recorder = control_plane.events.recorder(client.clone(), ALLOCATOR, "");
        let allocator = Allocator::new(client, &control_plane.caches, recorder);
        components.spawn("load balancer allocator", allocator.run(components.shutdown()));
    }
}

/// Keys are made while the store opens.
pub(super) async fn open(settings: &Settings) -> Result<(Arc<ClusterPki>, Arc<Sealing>)> {
    let bound = Some(settings.arguments.bind_address).filter(|ip| !ip.is_unspecified());
    let names = Names {
        node: settings.node.clone(),
        addresses: settings.addresses.iter().copied().chain(bound).collect(),
        service: settings.kubernetes_service(),
        cluster_domain: settings.arguments.cluster_domain.clone(),
        extra: settings.arguments.tls_san.clone(),
    };
    let pki = settings.data("pki");
    let pki = tokio::task::spawn_blocking(move || ClusterPki::open(&pki, &names));
    let (pki, store) = tokio::join!(pki, open_store(settings));
    let sealing = Sealing::open(settings, store.context("store")?).await.context("sealing")?;
    Ok((Arc::new(pki?.context("certificates")?), sealing))
}

/// Several servers share an etcd; one keeps a log of its own.
async fn open_store(settings: &Settings) -> Result<Shared> {
    if let Some(options) = settings.arguments.etcd.options() {
        return Ok(EtcdStore::open(options).await?);
    }
    let directory = settings.data(STORE);
    Ok(tokio::task::spawn_blocking(move || LogStore::open(directory, knarr_store::Options::default())).await??)
}

/// The administrator's kubeconfig, written anew whenever the certificate in it is renewed.
struct AdminKubeconfig {
    pki: Arc<ClusterPki>,
    server: String,
    path: PathBuf,
}

impl AdminKubeconfig {
    fn new(settings: &Settings, pki: &Arc<ClusterPki>) -> Self {
        Self { pki: pki.clone(), server: settings.url(), path: settings.data("admin.kubeconfig") }
    }

    fn write(&self) -> Result<()> {
        let (authority, client) = (&self.pki.ca, self.pki.admin.current());
        let kubeconfig =
            Kubeconfig { server: &self.server, cluster: "knarr", user: "kubernetes-admin", authority, client: &client };
        Ok(kubeconfig.write(&self.path)?)
    }

    async fn keep(self, shutdown: Shutdown) -> Result<()> {
        let mut certificate = self.pki.admin.subscribe();
        while let Some(Ok(())) = shutdown.or(certificate.changed()).await {
            if let Err(error) = self.write() {
                tracing::error!("cannot renew {}: {error:#}", self.path.display());
            }
        }
        shutdown.wait().await;
        Ok(())
    }
}

fn bootstrap_settings(settings: &Settings) -> Result<bootstrap::Settings> {
    let service_address = settings.kubernetes_service().first().copied().context("no range of Service addresses")?;
    Ok(bootstrap::Settings {
        service_ranges: settings.service_ranges.iter().map(ToString::to_string).collect(),
        service_address,
        dns_address: settings.cluster_dns.first().copied(),
        advertise: settings.advertised()?,
        port: settings.arguments.secure_port,
    })
}
