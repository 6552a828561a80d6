//! The tables of all families, Service by Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::Key;
use tokio::time::Instant;

use super::base::{self, Ranges};
use super::endpoints::Locality;
use super::plan::{Plan, plan};
use super::stale::{self, Frontends};
use crate::names::SERVICE_TABLE;
use crate::nft::{Set, Table};
use crate::{Cidr, Family, Result};

/// What the rules depend on beside Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where this node is.
    pub here: Locality,
    /// The ranges of all nodes' pods.
    pub pod_ranges: Vec<Cidr>,
    /// The ranges of Services. They say which families there are.
    pub service_ranges: Vec<Cidr>,
    /// Service addresses that the node answers for itself: the cluster DNS's.
    pub own: Vec<IpAddr>,
}

/// The rules of all Services, as they should be and as they are.
#[derive(Debug)]
pub struct Rules {
    config: Config,
    families: Vec<PerFamily>,
}

#[derive(Debug)]
struct PerFamily {
    family: Family,
    table: Table,
    plans: BTreeMap<Key, Plan>,
    /// Who wants which value of an element. Two Services may name the same external address and port; the first one in the
    /// order of their names has it.
    claims: BTreeMap<(&'static str, String), BTreeMap<Key, String>>,
    /// What changed for UDP since the last sync.
    moved: Frontends,
}

impl Rules {
    /// Rules without any Service.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let ranges = Ranges {
            pods: config.pod_ranges.clone(),
            services: config.service_ranges.clone(),
            own: config.own.clone(),
        };
        let used = |family: &Family| config.service_ranges.iter().any(|range| range.family() == *family);
        let families = Family::ALL.into_iter().filter(used).map(|family| {
            let mut table = Table::new(family.nft(), SERVICE_TABLE);
            base::fill(&mut table, family, &ranges);
            PerFamily { family, table, plans: BTreeMap::new(), claims: BTreeMap::new(), moved: Frontends::new() }
        });
        Self { families: families.collect(), config }
    }

    /// Says where this node is; `true` means that it was elsewhere before, and all Services have to be set again.
    pub fn move_to(&mut self, here: Locality) -> bool {
        let moved = self.config.here != here;
        self.config.here = here;
        moved
    }

    /// There should be this Service with these EndpointSlices; `None` means that it is gone.
    pub fn set<'a>(
        &mut self,
        key: &Key,
        service: Option<&Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
    ) {
        for families in &mut self.families {
            let plan = service
                .map(|service| plan(service, slices.clone(), &self.config.here, families.family, &self.config.own));
            families.set(key, plan.unwrap_or_default());
        }
    }

    /// Forgets what is known of the kernel: the next sync compares everything.
    pub fn distrust(&mut self) {
        self.families.iter_mut().for_each(|family| family.table.distrust());
    }

    /// When a sync has something to clear away although nothing changes.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.families.iter().filter_map(|family| family.table.rests_until()).min()
    }

    /// Takes what changed to the kernel: one transaction per family, and after it the end of UDP flows that lead to
    /// endpoints that are gone.
    ///
    /// # Errors
    /// When nft or connection tracking fails. What was not done is done by the next sync.
    pub async fn sync(&mut self) -> Result<()> {
        for family in &mut self.families {
            family.table.sync().await?;
            let forgotten = stale::forget(family.family, &family.moved)?;
            if forgotten > 0 {
                tracing::debug!(forgotten, "UDP flows found their endpoint gone");
            }
            family.moved.clear();
        }
        Ok(())
    }
}

impl PerFamily {
    fn set(&mut self, key: &Key, new: Plan) {
        let old = self.plans.remove(key).unwrap_or_default();
        if old == new {
            self.keep(key, new);
            return;
        }
        for (name, timeout) in &new.affinity {
            self.table.set(name, Set::dynamic(self.family.nft_type(), *timeout));
        }
        old.affinity
            .keys()
            .filter(|name| !new.affinity.contains_key(*name))
            .for_each(|name| self.table.remove_set(name));
        for (name, rules) in &new.chains {
            self.table.chain(name, rules.clone());
        }
        old.chains.keys().filter(|name| !new.chains.contains_key(*name)).for_each(|name| self.table.remove_chain(name));
        for element in old.elements.keys().filter(|element| !new.elements.contains_key(*element)) {
            self.claim(element, key, None);
        }
        for (element, value) in &new.elements {
            self.claim(element, key, Some(value.clone()));
        }
        let moved = new.udp.iter().filter(|(frontend, endpoints)| old.udp.get(frontend) != Some(endpoints));
        self.moved.extend(moved.map(|(frontend, endpoints)| (*frontend, endpoints.clone())));
        self.keep(key, new);
    }

    fn keep(&mut self, key: &Key, plan: Plan) {
        if plan != Plan::default() {
            self.plans.insert(key.clone(), plan);
        }
    }

    fn claim(&mut self, element: &(&'static str, String), key: &Key, value: Option<String>) {
        let claims = self.claims.entry(element.clone()).or_default();
        match value {
            Some(value) => claims.insert(key.clone(), value),
            None => claims.remove(key),
        };
        let (set, name) = element;
        self.table.element(set, name, claims.values().next().map(String::as_str));
        if claims.is_empty() {
            self.claims.remove(element);
        }
    }
}
