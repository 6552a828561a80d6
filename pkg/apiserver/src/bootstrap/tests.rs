use std::path::Path;

use knarr_api::object::Meta;
use knarr_base::readiness::Readiness;
use knarr_pki::Names;
use tokio::task::JoinSet;

use super::*;
use crate::authz::node::NodeAuthorizer;
use crate::authz::{Attributes, Authorize, ClusterAuthorizer};
use crate::registry::Hooks;
use crate::request::RequestInfo;

fn settings() -> Settings {
    Settings {
        service_ranges: vec!["10.43.0.0/16".into()],
        service_address: "10.43.0.1".parse().unwrap(),
        dns_address: Some("10.43.0.10".parse().unwrap()),
        advertise: "192.0.2.10".parse().unwrap(),
        port: 6443,
    }
}

fn pki(directory: &Path) -> ClusterPki {
    let names = Names {
        node: "n".into(),
        addresses: Vec::new(),
        service: Vec::new(),
        cluster_domain: "cluster.local".into(),
        extra: Vec::new(),
    };
    ClusterPki::open(directory, &names).unwrap()
}

/// A registry over a store in `directory`, with the cluster's authorizer and admission.
struct Server {
    registry: Arc<Registry>,
    authorizer: Arc<ClusterAuthorizer>,
    readiness: Readiness,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(directory: &Path) -> Self {
        let store = knarr_store::LogStore::open(directory, knarr_store::Options::default()).unwrap();
        let rbac = Arc::default();
        let node = Arc::new(NodeAuthorizer::new(rbac::node_rules()));
        let authorizer = Arc::new(ClusterAuthorizer { node, rbac: Arc::clone(&rbac) });
        let shared: Arc<dyn Authorize> = Arc::clone(&authorizer) as _;
        let plugins = crate::admission::default_plugins(&shared, &rbac);
        let (registry, feed) = Registry::open(store, plugins, Hooks::default()).await.unwrap();
        let (registry, readiness, shutdown) = (Arc::new(registry), Readiness::new(), Shutdown::new());
        let mut tasks = JoinSet::new();
        let caches = feed.run(shutdown.clone());
        tasks.spawn(async move { caches.await.unwrap() });
        let rights = authorizer.feed(&registry, &readiness).run(shutdown.clone());
        tasks.spawn(async move { rights.await.unwrap() });
        Self { registry, authorizer, readiness, shutdown, tasks }
    }

    /// Ends everything, so that the store can be opened again.
    async fn stop(self) {
        self.shutdown.start();
        self.tasks.join_all().await;
    }

    async fn bootstrap(&mut self, pki: &ClusterPki, settings: &Settings) {
        let pending = self.readiness.task("bootstrap");
        let bootstrap = Bootstrap::new(Arc::clone(&self.registry), pki, settings, pending);
        let work = bootstrap.run(self.shutdown.clone());
        self.tasks.spawn(async move { work.await.unwrap() });
        tokio::time::timeout(Duration::from_secs(20), self.readiness.ready()).await.unwrap();
    }

    async fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> knarr_api::Object {
        let kind = self.registry.kind(group, plural).unwrap();
        self.registry.get(&kind, namespace, name).await.unwrap()
    }

    async fn allowed(&self, user: UserInfo, method: &str, uri: &str) -> bool {
        let info = RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap());
        self.authorizer.authorize(&Attributes { user: &user, info: &info }).await.allowed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_has_what_it_needs_and_a_restart_changes_nothing() {
    let (store, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pki = pki(keys.path());
    let mut server = Server::start(store.path()).await;
    server.bootstrap(&pki, &settings()).await;
    let service = server.get("", "services", "default", "kubernetes").await;
    assert_eq!(service.str_at(&["spec", "clusterIP"]), "10.43.0.1");
    let slice = server.get("discovery.k8s.io", "endpointslices", "default", "kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.10");
    let definitions = ("apiextensions.k8s.io", "customresourcedefinitions");
    let pools = server.get(definitions.0, definitions.1, "", "ipaddresspools.metallb.io").await;
    assert_eq!(pools["status"]["conditions"][1]["type"], "Established");
    let user = |name: &str| UserInfo::new(name, &[]);
    assert!(server.allowed(user("jane"), "GET", "/version").await);
    assert!(!server.allowed(user("jane"), "GET", "/api/v1/nodes").await);
    assert!(server.allowed(user("system:kube-scheduler"), "GET", "/api/v1/nodes").await);
    let controller = UserInfo::service_account("kube-system", "deployment-controller");
    assert!(server.allowed(controller, "GET", "/apis/apps/v1/deployments").await);
    let before = server.registry.revision();
    server.stop().await;

    let mut server = Server::start(store.path()).await;
    let opened = server.registry.revision();
    server.bootstrap(&pki, &settings()).await;
    assert_eq!(server.registry.revision(), opened, "a restart wrote something, at {before}");
    let moved = Settings { advertise: "192.0.2.77".parse().unwrap(), ..settings() };
    server.bootstrap(&pki, &moved).await;
    let slice = server.get("discovery.k8s.io", "endpointslices", "default", "kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.77");
    server.stop().await;
}
