//! The objects that every cluster has from its first start on.
//!
//! They are written through the registry as `system:apiserver` in `system:masters`, upstream's loopback identity, at each
//! start anew: what is missing is created, what knarr keeps up to date is compared, and what a user changed stays.

mod cluster;
#[cfg(test)]
pub(crate) mod fixture;
mod flow;
mod item;
mod metallb;
pub mod rbac;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use knarr_api::user::UserInfo;
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use knarr_base::readiness::Pending;
use knarr_pki::ClusterPki;
use serde_json::Value;

use crate::registry::Registry;
use crate::request::RequestContext;
use item::Item;

/// How often the way to this server is looked after, as upstream does: nobody could call for help without it.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// What the objects depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--service-cluster-ip-range`, one per address family.
    pub service_ranges: Vec<String>,
    /// The address of the Service `kubernetes`.
    pub service_address: IpAddr,
    /// The address of cluster DNS; `None` with `--disable=dns`.
    pub dns_address: Option<IpAddr>,
    /// Where this server is reached.
    pub advertise: IpAddr,
    /// And on which port.
    pub port: u16,
}

/// Brings the objects into being and keeps them.
#[derive(Debug)]
pub struct Bootstrap {
    registry: Arc<Registry>,
    cx: RequestContext,
    /// Everything, cluster-scoped objects and those in namespaces apart.
    stages: [Vec<Item>; 2],
    /// The way to this server.
    kept: Vec<Item>,
    pending: Pending,
}

impl Bootstrap {
    /// Prepares the objects; `pending` ends when they exist.
    #[must_use]
    pub fn new(registry: Arc<Registry>, pki: &ClusterPki, settings: &Settings, pending: Pending) -> Self {
        let kept = cluster::api_server(settings).to_vec();
        let roles = rbac::objects().into_iter().map(|object| Item::kept(Value::Object(object), rbac::reconcile));
        let items = cluster::fixed()
            .chain(roles)
            .chain(flow::items())
            .chain(metallb::items())
            .chain([cluster::service_range(settings), cluster::authentication(pki)])
            .chain(settings.dns_address.as_ref().map(cluster::dns))
            .chain(kept.iter().cloned());
        let (inside, outside) = items.partition(Item::is_namespaced);
        let cx = RequestContext::internal(UserInfo::new("system:apiserver", &["system:masters"]));
        Self { registry, cx, stages: [outside, inside], kept, pending }
    }

    /// Runs until the drain starts.
    ///
    /// # Errors
    /// Never: what cannot be written is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let Self { registry, cx, stages, kept, pending } = self;
        let started = tokio::time::Instant::now();
        for stage in stages {
            if shutdown.or(ensure_all(&registry, &cx, stage)).await.is_none() {
                return Ok(());
            }
        }
        tracing::debug!("the cluster's own objects exist after {:?}", started.elapsed());
        drop(pending);
        while shutdown.or(tokio::time::sleep(KEEP_EVERY)).await.is_some() {
            let failed = ensure(&registry, &cx, kept.clone()).await;
            failed.iter().for_each(|(item, why)| tracing::warn!("cannot keep {}: {why}", item.name()));
        }
        Ok(())
    }
}

/// Writes until everything is written. The objects are independent of each other, so that all wait for the disk together.
async fn ensure_all(registry: &Registry, cx: &RequestContext, mut items: Vec<Item>) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        let failed = ensure(registry, cx, items).await;
        if failed.is_empty() {
            return;
        }
        failed.iter().for_each(|(item, why)| tracing::warn!("cannot write {}: {why}", item.name()));
        items = failed.into_iter().map(|(item, _)| item).collect();
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn ensure(registry: &Registry, cx: &RequestContext, items: Vec<Item>) -> Vec<(Item, knarr_api::Status)> {
    let one = |item: Item| async move { item.ensure(registry, cx).await.err().map(|status| (item, status)) };
    join_all(items.into_iter().map(one)).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
