//! The controller that gives addresses of pools to Services.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use knarr_base::Shutdown;
use knarr_client::cache::Selection;
use knarr_client::events::{Recorder, Type};
use knarr_client::{Action, Cache, Caches, Change, Controller, Key};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::allocation::{Decision, Taken, decide, is_ours, list};
use super::metallb::{IPAddressPool, NAMESPACE};
use super::pool::Pools;
use super::presence;
use crate::service::{FROM_POOL, balancer_ips};
use crate::{Error, Result};

/// Gives addresses to Services of type `LoadBalancer`.
pub struct Allocator {
    client: kube::Client,
    services: Cache<Service>,
    namespaces: Cache<Namespace>,
    pools: Cache<IPAddressPool>,
    pods: Cache<Pod>,
    recorder: Recorder,
    /// The last pools that made sense, and what was wrong with those that did not.
    valid: Mutex<(Pools, Option<String>)>,
}

impl Allocator {
    /// An allocator that reads `caches` and writes with `client`.
    #[must_use]
    pub fn new(client: kube::Client, caches: &Caches, recorder: Recorder) -> Self {
        Self {
            client,
            services: caches.of(),
            namespaces: caches.of(),
            pools: caches.select(&Selection::namespace(NAMESPACE)),
            pods: caches.of(),
            recorder,
            valid: Mutex::default(),
        }
    }

    /// Allocates until the drain.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let mut controller = Controller::new("load-balancer-allocator");
        let all = |services: &Cache<Service>| {
            let services = services.clone();
            move || balanced(&services)
        };
        let others = all(&self.services);
        controller.watch(&self.services, move |change| match frees(change) {
            true => [vec![change.key.clone()], others()].concat(),
            false => vec![change.key.clone()],
        });
        let every = all(&self.services);
        controller.watch(&self.pools, move |_| every());
        let every = all(&self.services);
        controller.watch(&self.namespaces, move |change| match relabelled(change) {
            true => every(),
            false => Vec::new(),
        });
        let every = all(&self.services);
        controller.watch(&self.pods, move |change| match change.sides().any(|pod| presence::is_controller(pod)) {
            true => every(),
            false => Vec::new(),
        });
        // One at a time, and each waits until the cache shows what it wrote: no address is given twice.
        controller.run(1, shutdown, |key| self.reconcile(key)).await
    }

    async fn reconcile(&self, key: Key) -> Result<Action> {
        let Some(service) = self.services.at(&key) else { return Ok(Action::Done) };
        if presence::metallb(&self.pods.list(), "controller", None).is_some() {
            tracing::debug!(service = %key, "MetalLB's own controller runs here and gives addresses");
            return Ok(Action::Done);
        }
        let others = self.services.list().into_iter().filter(|other| Key::of(other.as_ref()) != key);
        let others: Vec<_> = others.filter_map(|other| Taken::of(&other)).collect();
        let namespace = self.namespaces.get("", key.namespace());
        let labels = namespace.map(|namespace| namespace.labels().clone()).unwrap_or_default();
        match decide(&service, &others, &self.pools(), &labels) {
            Decision::Leave => {}
            Decision::Assign { ips, pool, known } => {
                self.assign(&service, &ips, &pool).await?;
                if !known {
                    self.recorder.event(
                        service.as_ref(),
                        Type::Normal,
                        "IPAllocated",
                        format!("Assigned IP {}", list(&ips)),
                    );
                }
            }
            Decision::Clear => self.clear(&service).await?,
            Decision::Fail(reason) => {
                if balancer_ips(&service).next().is_some() {
                    self.clear(&service).await?;
                }
                let message = format!("Failed to allocate IP for {:?}: {reason}", key.to_string());
                self.recorder.event(service.as_ref(), Type::Warning, "AllocationFailed", message);
            }
        }
        Ok(Action::Done)
    }

    /// The pools as they are, or as they were when they last made sense; the pool at fault is told once.
    fn pools(&self) -> Pools {
        let objects = self.pools.list();
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        match Pools::read(&objects) {
            Ok(pools) => *valid = (pools, None),
            Err(error) => {
                let message = format!("{error}; the last valid pools stay in use");
                if valid.1.as_ref() != Some(&message) {
                    if let Some(pool) = objects.iter().find(|pool| pool.name_any() == error.pool) {
                        self.recorder.event(pool.as_ref(), Type::Warning, "InvalidConfiguration", message.clone());
                    }
                    valid.1 = Some(message);
                }
            }
        }
        valid.0.clone()
    }

    /// The annotation first: an address in the status without it would not be known as ours.
    async fn assign(&self, service: &Service, ips: &[IpAddr], pool: &str) -> Result<()> {
        let [annotation, _] = FROM_POOL;
        let revision = self.annotate(service, json!({annotation: pool})).await?;
        let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        self.write_status(service, revision, json!({"ingress": ingress})).await
    }

    async fn clear(&self, service: &Service) -> Result<()> {
        let revision = service.metadata.resource_version.clone();
        self.write_status(service, revision, Value::Null).await?;
        let gone: serde_json::Map<_, _> = FROM_POOL.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        let fresh = self.services.at(&Key::of(service));
        match fresh {
            Some(fresh) => self.annotate(&fresh, Value::Object(gone)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Returns the revision to go on from. A change that somebody else made meanwhile is a conflict, and all is decided anew.
    async fn annotate(&self, service: &Service, annotations: Value) -> Result<Option<String>> {
        let Value::Object(wanted) = &annotations else { return Ok(None) };
        let present =
            |(name, value): (&String, &Value)| service.annotations().get(name).map(String::as_str) == value.as_str();
        if wanted.iter().all(present) {
            return Ok(service.metadata.resource_version.clone());
        }
        let metadata = json!({"resourceVersion": service.metadata.resource_version, "annotations": annotations});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let written = self.api(service).patch(&service.name_any(), &PatchParams::default(), &patch).await;
        self.seen(service, written).await
    }

    async fn write_status(&self, service: &Service, revision: Option<String>, balancer: Value) -> Result<()> {
        let patch = json!({"metadata": {"resourceVersion": revision}, "status": {"loadBalancer": balancer}});
        let (api, name) = (self.api(service), service.name_any());
        let written = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        self.seen(service, written).await.map(drop)
    }

    /// Waits until the cache has what was written.
    async fn seen(&self, service: &Service, written: Result<Service, kube::Error>) -> Result<Option<String>> {
        let doing = || format!("write the Service {}", Key::of(service));
        let written = written.map_err(|source| Error::Api { doing: doing(), source: Box::new(source) })?;
        let revision = written.metadata.resource_version;
        let seen = self.services.seen(revision.as_deref().unwrap_or_default()).await;
        seen.map_err(|error| Error::Config(format!("{}: {error}", doing())))?;
        Ok(revision)
    }

    fn api(&self, service: &Service) -> Api<Service> {
        Api::namespaced(self.client.clone(), service.metadata.namespace.as_deref().unwrap_or("default"))
    }
}

/// The Services that may want an address.
fn balanced(services: &Cache<Service>) -> Vec<Key> {
    let services = services.list();
    services.iter().filter(|service| is_ours(service)).map(|service| Key::of(service.as_ref())).collect()
}

/// Whether somebody who waits for an address may get one now.
fn frees(change: &Change<Service>) -> bool {
    let old = change.old.as_deref().and_then(Taken::of);
    old.is_some() && old != change.new.as_deref().and_then(Taken::of)
}

fn relabelled(change: &Change<Namespace>) -> bool {
    change.old.as_ref().map(|old| old.labels()) != change.new.as_ref().map(|new| new.labels())
}
