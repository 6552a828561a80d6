//! A control plane without machines: the real API server over a real store, all controllers under their real identities
//! with the bootstrap roles, and a node agent that only pretends.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_api::user::{InProcess, UserInfo};
use knarr_apiserver::admission::default_plugins;
use knarr_apiserver::allocate::{PortRange, ServiceHook};
use knarr_apiserver::authn::Authenticate;
use knarr_apiserver::authz::node::NodeAuthorizer;
use knarr_apiserver::authz::{Attributes, Authorize, ClusterAuthorizer, Decision};
use knarr_apiserver::bootstrap::{Bootstrap, Settings as BootstrapSettings, rbac};
use knarr_apiserver::registry::{Hooks, Registry};
use knarr_apiserver::subresource::Subresources;
use knarr_apiserver::{Access, ApiServer, Config, Pages};
use knarr_base::readiness::Readiness;
use knarr_base::{Components, Shutdown};
use knarr_client::cache::Cached;
use knarr_client::transport::in_process;
use knarr_client::{Cache, Caches, Change, Key};
use knarr_controllers::{Deps, Settings};
use knarr_store::LogStore;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// How long anything may take. A plan that is wrong waits for ever; one that is right takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody in this process is who they say.
struct Believe;

#[async_trait]
impl Authenticate for Believe {
    async fn authenticate(&self, request: &Parts) -> knarr_api::status::Result<Option<UserInfo>> {
        Ok(request.extensions.get::<InProcess>().map(|user| user.0.clone()))
    }
}

/// The cluster's authorizer, and what it has refused.
struct Watched {
    authorizer: Arc<ClusterAuthorizer>,
    refused: Refusals,
}

type Refusals = Arc<Mutex<BTreeSet<String>>>;

#[async_trait]
impl Authorize for Watched {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let decision = self.authorizer.authorize(attributes).await;
        if !decision.allowed() {
            let info = attributes.info;
            let text = format!("{} {} {}/{}", attributes.user.username, info.verb, info.resource, info.subresource);
            self.refused.lock().unwrap().insert(text);
        }
        decision
    }
}

pub(crate) struct World {
    /// `system:masters`.
    admin: Client,
    caches: Caches,
    refused: Refusals,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), knarr_base::lifecycle::Ended>>,
    _directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        knarr_base::telemetry::init("off");
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(directory.path().join("store"), knarr_store::Options::default()).unwrap();
        let rbac = Arc::default();
        let node = Arc::new(NodeAuthorizer::new(rbac::node_rules()));
        let authorizer = Arc::new(ClusterAuthorizer { node, rbac: Arc::clone(&rbac) });
        let shared: Arc<dyn Authorize> = Arc::clone(&authorizer) as _;
        let service = ServiceHook::new(vec!["10.43.0.0/16".parse().unwrap()], PortRange::default());
        let hooks = Hooks::from([(("", "services"), vec![Arc::new(service) as _])]);
        let (registry, feed) = Registry::open(store, default_plugins(&shared, &rbac), hooks).await.unwrap();

        let mut components = Components::new();
        let shutdown = components.shutdown();
        let readiness = Readiness::new();
        components.spawn("authorizer", authorizer.feed(&registry, &readiness).run(shutdown.clone()));
        let names = knarr_pki::Names {
            node: "n1".into(),
            addresses: Vec::new(),
            service: Vec::new(),
            cluster_domain: "cluster.local".into(),
            extra: Vec::new(),
        };
        let pki = knarr_pki::ClusterPki::open(&directory.path().join("pki"), &names).unwrap();
        let settings = BootstrapSettings {
            service_ranges: vec!["10.43.0.0/16".into()],
            service_address: "10.43.0.1".parse().unwrap(),
            dns_address: Some("10.43.0.10".parse().unwrap()),
            advertise: "192.0.2.10".parse().unwrap(),
            port: 6443,
        };
        let refused = Refusals::default();
        let access = Access {
            authenticator: Arc::new(Believe),
            authorizer: Arc::new(Watched { authorizer, refused: refused.clone() }),
        };
        let server =
            ApiServer::new(Config::default(), registry.clone(), access, Subresources::default(), Pages::default());
        let router = server.router();
        let tls = knarr_pki::tls::Reception::new(&pki.apiserver, &pki.ca).unwrap();
        components.spawn("server", server.run(feed, Vec::new(), tls, shutdown.clone()));
        let bootstrap = Bootstrap::new(registry.clone(), &pki, &settings, readiness.task("bootstrap"));
        components.spawn("bootstrap", bootstrap.run(shutdown.clone()));

        tokio::time::timeout(PATIENCE, readiness.ready()).await.expect("the bootstrap objects are there");

        let reader = in_process(router.clone(), UserInfo::new("system:kube-controller-manager", &[]));
        let (caches, watches) = Caches::new(reader);
        components.spawn("watches", watches.run(shutdown.clone()));
        let (events, writer) = knarr_client::events::channel();
        components.spawn("events", writer.run(shutdown.clone()));
        let client = {
            let router = router.clone();
            Arc::new(move |name: &str| in_process(router.clone(), UserInfo::service_account("kube-system", name)))
        };
        let settings = Settings { root_ca: "PEM".into(), cluster_cidrs: vec!["10.42.0.0/16".into()] };
        let deps = Deps { caches: caches.clone(), client, events, settings: Arc::new(settings) };
        knarr_controllers::spawn(&mut components, &deps);

        let admin = in_process(router, UserInfo::new("admin", &["system:masters"]));
        components.spawn("pretended agent", agent(admin.clone(), caches.of::<Pod>(), shutdown.clone()));
        let running = tokio::spawn(components.run(PATIENCE));
        let world = Self { admin, caches, refused, shutdown, running, _directory: directory };
        world.make::<Node>("", json!({"metadata": {"name": "n1"}})).await;
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let nodes = Api::<Node>::all(world.admin.clone());
        nodes.patch_status("n1", &PatchParams::default(), &Patch::Strategic(ready)).await.unwrap();
        world
    }

    /// Creates an object in a namespace, or in none.
    pub(crate) async fn make<K: kube::Resource<DynamicType = ()>>(&self, namespace: &str, mut object: Value) {
        object["apiVersion"] = K::api_version(&()).as_ref().into();
        object["kind"] = K::kind(&()).as_ref().into();
        let object = serde_json::from_value(object).unwrap();
        self.api::<K>(namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    /// Changes an object by a merge patch, and waits until everybody in the process has seen that.
    pub(crate) async fn change<K>(&self, namespace: &str, name: &str, patch: Value)
    where
        K: kube::Resource<DynamicType = ()> + Cached,
    {
        let api = self.api::<K>(namespace);
        let changed = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        self.cache::<K>().seen(changed.metadata.resource_version.as_deref().unwrap()).await.unwrap();
    }

    pub(crate) async fn delete<K: kube::Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        name: &str,
        how: DeleteParams,
    ) {
        self.api::<K>(namespace).delete(name, &how).await.unwrap();
    }

    fn api<K: kube::Resource<DynamicType = ()>>(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<K>(&());
        match namespace {
            "" => Api::all_with(self.admin.clone(), &kind),
            _ => Api::namespaced_with(self.admin.clone(), namespace, &kind),
        }
    }

    pub(crate) fn cache<K>(&self) -> Cache<K>
    where
        K: kube::Resource<DynamicType = ()> + Cached,
    {
        self.caches.of()
    }

    /// Waits until `holds` is true of the object.
    pub(crate) async fn until<K>(&self, namespace: &str, name: &str, holds: impl Fn(Option<&K>) -> bool)
    where
        K: kube::Resource<DynamicType = ()> + Cached + Debug,
    {
        let cache = self.cache::<K>();
        cache.synced().await;
        if cache.until(&Key::new(namespace, name), holds).await.is_err() {
            panic!("{namespace}/{name} never came to be as wanted, it is {:#?}", cache.get(namespace, name));
        }
    }

    /// Waits until `holds` is true of the objects of a namespace.
    pub(crate) async fn until_all<K>(&self, namespace: &str, holds: impl Fn(&[Arc<K>]) -> bool)
    where
        K: kube::Resource<DynamicType = ()> + Cached + Debug,
    {
        let cache = self.cache::<K>();
        cache.synced().await;
        let mut changes = cache.subscribe();
        let wait = async {
            while !holds(&cache.in_namespace(namespace)) {
                changes.next().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("never came to be as wanted: {:#?}", cache.in_namespace(namespace));
        }
    }

    /// Ends everything. Nobody may have been refused anything, and nothing may have failed.
    pub(crate) async fn end(self) {
        self.shutdown.start();
        self.running.await.unwrap().unwrap();
        assert_eq!(*self.refused.lock().unwrap(), BTreeSet::new(), "the bootstrap roles allow all that controllers do");
    }
}

/// Says of every pod that it runs, and lets it go when it is deleted.
async fn agent(client: Client, pods: Cache<Pod>, shutdown: Shutdown) -> Result<(), String> {
    let mut changes = pods.subscribe();
    while let Some(change) = shutdown.or(changes.next()).await {
        let Change { key, new: Some(pod), .. } = change else { continue };
        let api = Api::<Pod>::namespaced(client.clone(), key.namespace());
        let work = treat(&api, &key, &pod);
        if let Some(Err(error)) = shutdown.or(work).await {
            // It has gone meanwhile: the next change says so.
            tracing::debug!(%error, %key, "pretended agent");
        }
    }
    Ok(())
}

async fn treat(api: &Api<Pod>, key: &Key, pod: &Pod) -> Result<(), kube::Error> {
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    if pod.metadata.deletion_timestamp.is_some() {
        api.delete(key.name(), &DeleteParams::default().grace_period(0)).await?;
    } else if !running {
        let number = u16::from_str_radix(&pod.metadata.uid.as_deref().unwrap_or_default()[..4], 16).unwrap_or_default();
        let ip = format!("10.42.{}.{}", number >> 8, number & 0xff);
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]});
        api.patch_status(key.name(), &PatchParams::default(), &Patch::Strategic(json!({"status": status}))).await?;
    }
    Ok(())
}
