//! A server without a listener, for tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use knarr_api::Object;
use knarr_api::user::{InProcess, UserInfo};
use knarr_base::Shutdown;
use knarr_base::readiness::Readiness;
use knarr_pki::{ClusterPki, Names};
use serde_json::Value;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::{Bootstrap, Settings};
use crate::allocate::{PortRange, ServiceHook};
use crate::authn::service_account::ServiceAccountTokens;
use crate::authn::{ClusterAuthenticator, discovery};
use crate::authz::{Aggregation, Attributes, Authorize, ClusterAuthorizer};
use crate::registry::{Hook, Hooks, Registry};
use crate::request::RequestInfo;
use crate::subresource::Subresources;
use crate::{Access, ApiServer, Config, Pages, reviews};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Who sends a request.
pub(crate) enum Who {
    User(UserInfo),
    Bearer(String),
    Nobody,
}

pub(crate) fn settings() -> Settings {
    Settings {
        service_ranges: vec!["10.43.0.0/16".into()],
        service_address: "10.43.0.1".parse().unwrap(),
        dns_address: Some("10.43.0.10".parse().unwrap()),
        advertise: "192.0.2.10".parse().unwrap(),
        port: 6443,
    }
}

pub(crate) fn pki(directory: &Path) -> Arc<ClusterPki> {
    let names = Names {
        node: "n".into(),
        addresses: Vec::new(),
        service: Vec::new(),
        cluster_domain: "cluster.local".into(),
        extra: Vec::new(),
    };
    Arc::new(ClusterPki::open(directory, &names).unwrap())
}

/// A registry over a store in `directory`, with the cluster's authorizer and admission.
pub(crate) struct Server {
    pub(crate) api: ApiServer,
    pub(crate) tokens: Arc<ServiceAccountTokens>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) authorizer: Arc<ClusterAuthorizer>,
    readiness: Readiness,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(directory: &Path, pki: &Arc<ClusterPki>) -> Self {
        let store = knarr_store::LogStore::open(directory, knarr_store::Options::default()).unwrap();
        let authorizer = Arc::new(ClusterAuthorizer::new());
        let shared: Arc<dyn Authorize> = Arc::clone(&authorizer) as _;
        let plugins = crate::admission::default_plugins(&shared, &authorizer.rbac);
        let ranges = settings().service_ranges.iter().map(|range| range.parse().unwrap()).collect();
        let services: Arc<dyn Hook> = Arc::new(ServiceHook::new(ranges, PortRange::default()));
        let hooks = Hooks::from([(("", "services"), vec![services])]);
        let (registry, feed) = Registry::open(store, plugins, hooks).await.unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let mut tasks = JoinSet::new();
        let caches = feed.run(shutdown.clone());
        tasks.spawn(async move { caches.await.unwrap() });
        let rights = authorizer.feed(&registry, &readiness).run(shutdown.clone());
        tasks.spawn(async move { rights.await.unwrap() });
        let objects = Arc::clone(&registry) as _;
        let tokens = Arc::new(ServiceAccountTokens::new(Arc::clone(pki), ISSUER.into(), objects));
        let mut subresources = Subresources::default();
        let needs = reviews::Dependencies {
            authorizer: Arc::clone(&shared),
            rbac: Arc::clone(&authorizer.rbac),
            tokens: Arc::clone(&tokens),
            pki: Arc::clone(pki),
        };
        reviews::add(&mut subresources, &needs);
        let pages = discovery::add(Pages::default(), Arc::clone(pki), ISSUER, "127.0.0.1:6443");
        let authenticator = Arc::new(ClusterAuthenticator::new(Arc::clone(&tokens), true));
        let access = Access { authenticator, authorizer: shared };
        let api = ApiServer::new(Config::default(), Arc::clone(&registry), access, subresources, pages);
        let gather = Aggregation::new(Arc::clone(&registry), readiness.clone()).run(shutdown.clone());
        tasks.spawn(async move { gather.await.unwrap() });
        Self { api, tokens, registry, authorizer, readiness, shutdown, tasks }
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

    /// Sends a request as `who`: a user of this process, or the bearer of a token, or nobody. The answer's code and body.
    pub(crate) async fn send(&self, who: &Who, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Who::Bearer(token) = who {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(body.map_or_else(Body::empty, |body| body.to_string().into())).unwrap();
        if let Who::User(user) = who {
            request.extensions_mut().insert(InProcess(user.clone()));
        }
        let (parts, body) = self.api.router().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
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
