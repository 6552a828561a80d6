//! Keeps the zone like the cluster.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::cache::{Cache, Caches, Change, Index, Key};
use tokio::time::{Instant, sleep_until};

use crate::copy::Copy;
use crate::records::ServiceRecords;
use crate::zone::Zone;

/// The copy on disk follows within this time: flash must not die of endpoints that come and go.
const COPY_DELAY: Duration = Duration::from_secs(30);

/// Names the Service that a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// See the module's page.
pub(crate) struct Sync {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    zone: Arc<RwLock<Zone>>,
    copy: Arc<Copy>,
}

impl Sync {
    /// Fills the zone from the copy; the cluster's truth follows when the API server answers.
    pub(crate) fn new(caches: &Caches, zone: Arc<RwLock<Zone>>, copy: Copy) -> Self {
        let slices: Cache<EndpointSlice> = caches.of();
        let by_service = slices.index("service", |slice| owner(slice).map(|key| key.to_string()).into_iter().collect());
        let sync = Self { services: caches.of(), slices, by_service, zone, copy: Arc::new(copy) };
        for records in sync.copy.read() {
            sync.write(|zone| zone.set(&records.namespace.clone(), &records.name.clone(), Some(records)));
        }
        sync
    }

    pub(crate) async fn run(self) -> Infallible {
        let (mut services, mut slices) = (self.services.subscribe(), self.slices.subscribe());
        self.services.synced().await;
        self.slices.synced().await;
        let mut copy_due = self.drop_vanished().then(|| Instant::now() + COPY_DELAY);
        loop {
            let mut keys: HashSet<Key> = HashSet::new();
            tokio::select! {
                change = services.next() => keys.extend(change.sides().map(|service| Key::of(&**service))),
                change = slices.next() => keys.extend(owners(&change)),
                () = async { sleep_until(copy_due.unwrap_or_else(Instant::now)).await }, if copy_due.is_some() => {
                    copy_due = None;
                    self.write_copy().await;
                }
            }
            while let Some(change) = services.ready() {
                keys.extend(change.sides().map(|service| Key::of(&**service)));
            }
            while let Some(change) = slices.ready() {
                keys.extend(owners(&change));
            }
            for key in keys {
                if self.update(&key) && copy_due.is_none() {
                    copy_due = Some(Instant::now() + COPY_DELAY);
                }
            }
        }
    }

    fn update(&self, key: &Key) -> bool {
        let records = self.services.at(key).and_then(|service| {
            let slices = self.by_service.get(&key.to_string());
            ServiceRecords::new(&service, slices.iter().map(|slice| &**slice))
        });
        self.write(|zone| zone.set(key.namespace(), key.name(), records))
    }

    /// What the copy knew and the cluster does not have any more.
    fn drop_vanished(&self) -> bool {
        let known = self.write(|zone| zone.keys());
        let gone = known.into_iter().filter(|(namespace, name)| self.services.get(namespace, name).is_none());
        gone.fold(false, |changed, (namespace, name)| self.write(|zone| zone.set(&namespace, &name, None)) || changed)
    }

    async fn write_copy(&self) {
        let services: Vec<_> = self.write(|zone| zone.services().cloned().collect());
        let copy = self.copy.clone();
        let written = tokio::task::spawn_blocking(move || copy.write(&services)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "cannot write the copy of the zone");
        }
    }

    fn write<T>(&self, act: impl FnOnce(&mut Zone) -> T) -> T {
        act(&mut self.zone.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn owner(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref()?, name))
}

fn owners(change: &Change<EndpointSlice>) -> Vec<Key> {
    change.sides().filter_map(|slice| owner(slice)).collect()
}
