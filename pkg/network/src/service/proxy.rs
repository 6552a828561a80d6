//! The component: changes of Services and EndpointSlices become transactions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use knarr_base::readiness::Pending;
use knarr_client::events::{Recorder, Type};
use knarr_client::{Cache, Change, Changes, Index, Key};
use tokio::time::Instant;

use super::endpoints::Locality;
use super::health::{self, Health};
use super::rules::{Config, Rules};
use crate::Result;
use crate::nft::Monitor;

/// Names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

const ZONE: &str = "topology.kubernetes.io/zone";

/// A deployment changes several objects within a moment; starting nft costs more than waiting for them.
const GATHER: Duration = Duration::from_millis(3);

/// How often the kernel's tables are looked at although nothing failed, as kube-proxy does.
const LOOK: Duration = Duration::from_hours(1);

/// The service proxy of a node.
pub struct Proxy {
    config: Config,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    slices_of: Index<EndpointSlice>,
    node: Cache<Node>,
    recorder: Recorder,
    first_sync: Option<Pending>,
}

impl Proxy {
    /// A proxy that reads these caches; `node` holds at least this node. `first_sync` is dropped when the rules are what
    /// the caches say for the first time.
    #[must_use]
    pub fn new(
        config: Config,
        services: Cache<Service>,
        slices: Cache<EndpointSlice>,
        node: Cache<Node>,
        recorder: Recorder,
        first_sync: Pending,
    ) -> Self {
        let slices_of = slices.index("network/service", |slice| service_of(slice).iter().map(Key::to_string).collect());
        Self { config, services, slices, slices_of, node, recorder, first_sync: Some(first_sync) }
    }

    /// Keeps the rules current until the drain. They stay when it ends.
    ///
    /// # Errors
    /// When the kernel cannot be watched. What fails is tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<()> {
        let synced = async {
            tokio::join!(self.services.synced(), self.slices.synced(), self.node.synced());
        };
        if shutdown.or(synced).await.is_none() {
            return Ok(());
        }
        shutdown.or(self.work()).await.unwrap_or(Ok(()))
    }

    async fn work(&mut self) -> Result<()> {
        let mut inputs = Inputs::new(self)?;
        let mut rules = Rules::new(self.config.clone());
        let mut health = Health::default();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut look = Instant::now() + LOOK;
        // The first round waits for nothing: the tables are there even if there is no Service.
        let mut retry = Some(Instant::now());
        loop {
            let wake = [Some(look), retry, rules.rests_until()].into_iter().flatten().min().unwrap_or(look);
            if inputs.next(wake).await == Input::TablesLost || look <= Instant::now() {
                rules.distrust();
                look = Instant::now() + LOOK;
            }
            if rules.move_to(self.here()) {
                inputs.all(&self.services);
            }
            for key in std::mem::take(&mut inputs.changed) {
                self.update(&mut rules, &mut health, &key).await;
            }
            match rules.sync().await {
                Ok(()) => {
                    backoff.reset();
                    retry = None;
                    self.first_sync = None;
                }
                Err(error) => {
                    tracing::error!(%error, "the rules of Services are not current");
                    retry = Some(Instant::now() + backoff.delay());
                }
            }
        }
    }

    fn here(&self) -> Locality {
        let node = self.config.here.node.clone();
        let labels = self.node.get("", &node).and_then(|node| node.metadata.labels.clone()).unwrap_or_default();
        Locality { node, zone: labels.get(ZONE).cloned().unwrap_or_default() }
    }

    async fn update(&self, rules: &mut Rules, health: &mut Health, key: &Key) {
        let service = self.services.at(key);
        let slices: Vec<Arc<EndpointSlice>> = self.slices_of.get(&key.to_string());
        let slices = slices.iter().map(AsRef::as_ref);
        rules.set(key, service.as_deref(), slices.clone());
        let check = service.as_deref().and_then(|service| health::check(service, slices, &self.config.here.node));
        if let (Err(error), Some(service)) = (health.set(key, check).await, &service) {
            let node = &self.config.here.node;
            let port = check.map(|check| check.port).unwrap_or_default();
            let message = format!("node {node} failed to start healthcheck {key:?} on port {port}: {error}");
            self.recorder.event(service.as_ref(), Type::Warning, "FailedToStartServiceHealthcheck", message);
        }
    }
}

/// Why to look at the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Objects changed.
    Objects,
    /// Somebody removed our tables.
    TablesLost,
    /// The time has come.
    Time,
}

/// Which Services have to be planned again.
struct Inputs {
    tables: Monitor,
    services: Changes<Service>,
    slices: Changes<EndpointSlice>,
    node: Changes<Node>,
    changed: BTreeSet<Key>,
}

impl Inputs {
    fn new(proxy: &Proxy) -> Result<Self> {
        Ok(Self {
            tables: Monitor::open()?,
            services: proxy.services.subscribe(),
            slices: proxy.slices.subscribe(),
            node: proxy.node.subscribe(),
            changed: BTreeSet::new(),
        })
    }

    /// Waits for a change and those that come with it, at most until `deadline`.
    async fn next(&mut self, deadline: Instant) -> Input {
        tokio::select! {
            biased;
            change = self.services.next() => { self.changed.insert(change.key); }
            change = self.slices.next() => self.changed.extend(services_of(&change)),
            _ = self.node.next() => {}
            () = self.tables.lost() => return Input::TablesLost,
            () = tokio::time::sleep_until(deadline) => return Input::Time,
        }
        tokio::time::sleep(GATHER).await;
        self.changed.extend(std::iter::from_fn(|| self.services.ready()).map(|change| change.key));
        self.changed.extend(std::iter::from_fn(|| self.slices.ready()).flat_map(|change| services_of(&change)));
        while self.node.ready().is_some() {}
        Input::Objects
    }

    fn all(&mut self, services: &Cache<Service>) {
        self.changed.extend(services.list().iter().map(|service| Key::of(service.as_ref())));
    }
}

fn services_of(change: &Change<EndpointSlice>) -> Vec<Key> {
    change.sides().filter_map(|slice| service_of(slice)).collect()
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}
