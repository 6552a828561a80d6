//! A server without a listener, for tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use knarr_api::Object;
use knarr_api::user::UserInfo;
use knarr_base::Shutdown;
use knarr_base::readiness::Readiness;
use knarr_pki::{ClusterPki, Names};
use tokio::task::JoinSet;

use super::{Bootstrap, Settings};
use crate::authz::{Attributes, Authorize, ClusterAuthorizer};
use crate::registry::{Hooks, Registry};
use crate::request::RequestInfo;

pub(crate) fn settings() -> Settings {
    Settings {
        service_ranges: vec!["10.43.0.0/16".into()],
        service_address: "10.43.0.1".parse().unwrap(),
        dns_address: Some("10.43.0.10".parse().unwrap()),
        advertise: "192.0.2.10".parse().unwrap(),
        port: 6443,
    }
}

pub(crate) fn pki(directory: &Path) -> ClusterPki {
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
pub(crate) struct Server {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authorizer: Arc<ClusterAuthorizer>,
    readiness: Readiness,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(directory: &Path) -> Self {
        let store = knarr_store::LogStore::open(directory, knarr_store::Options::default()).unwrap();
        let authorizer = Arc::new(ClusterAuthorizer::new());
        let shared: Arc<dyn Authorize> = Arc::clone(&authorizer) as _;
        let plugins = crate::admission::default_plugins(&shared, &authorizer.rbac);
        let (registry, feed) = Registry::open(store, plugins, Hooks::default()).await.unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let mut tasks = JoinSet::new();
        let caches = feed.run(shutdown.clone());
        tasks.spawn(async move { caches.await.unwrap() });
        let rights = authorizer.feed(&registry, &readiness).run(shutdown.clone());
        tasks.spawn(async move { rights.await.unwrap() });
        Self { registry, authorizer, readiness, shutdown, tasks }
    }

    /// Ends everything, so that the store can be opened again.
    pub(crate) async fn stop(self) {
        self.shutdown.start();
        self.tasks.join_all().await;
    }

    pub(crate) async fn bootstrap(&mut self, pki: &ClusterPki, settings: &Settings) {
        let pending = self.readiness.task("bootstrap");
        let bootstrap = Bootstrap::new(Arc::clone(&self.registry), pki, settings, pending);
        let work = bootstrap.run(self.shutdown.clone());
        self.tasks.spawn(async move { work.await.unwrap() });
        tokio::time::timeout(Duration::from_secs(20), self.readiness.ready()).await.unwrap();
    }

    pub(crate) async fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Object {
        let kind = self.registry.kind(group, plural).unwrap();
        self.registry.get(&kind, namespace, name).await.unwrap()
    }

    pub(crate) async fn allowed(&self, user: UserInfo, method: &str, uri: &str) -> bool {
        let info = RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap());
        self.authorizer.authorize(&Attributes { user: &user, info: &info }).await.allowed()
    }
}
