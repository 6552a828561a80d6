//! Which addresses a Service has, gets or loses: MetalLB's rules as a pure function.
//!
//! What is in use stands in the status of the other Services, nowhere else: so addresses are stable over restarts, and there
//! is nothing that could disagree with the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::ResourceExt;

use super::pool::{Asking, Pool, Pools};
use crate::Family;
use crate::service::{balancer_ips, external_local};

/// Annotations are read under both prefixes; the second one is the older.
const PREFIXES: [&str; 2] = ["metallb.io", "metallb.universe.tf"];
const POOL: &str = "address-pool";
const ADDRESSES: &str = "loadBalancerIPs";
const SHARE: &str = "allow-shared-ip";

/// What a Service that has addresses is to others that want the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    name: String,
    since: (Option<Timestamp>, String),
    ips: BTreeSet<IpAddr>,
    ports: BTreeSet<(String, i32)>,
    key: String,
    backend: String,
}

impl Taken {
    /// `None` when the Service has no address from us.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        is_ours(service)
            .then(|| Self::new(service, balancer_ips(service).collect()))
            .filter(|taken| !taken.ips.is_empty())
    }

    fn new(service: &Service, ips: BTreeSet<IpAddr>) -> Self {
        let spec = service.spec.as_ref();
        let ports = spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let name = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
        Self {
            since: (service.metadata.creation_timestamp.as_ref().map(|time| time.0), name.clone()),
            name,
            ips,
            ports: ports.map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".into()), port.port)).collect(),
            key: annotation(service, SHARE).unwrap_or_default().to_owned(),
            backend: spec.map(backend).unwrap_or_default(),
        }
    }

    /// Why `self` cannot have an address that `other` has.
    fn clash(&self, other: &Self) -> Option<String> {
        if self.key.is_empty() || self.key != other.key || self.backend != other.backend {
            return Some(format!("it is in use by {}, which does not share it", other.name));
        }
        let port = self.ports.intersection(&other.ports).next();
        port.map(|(protocol, port)| format!("port {port}/{protocol} of it is in use by {}", other.name))
    }
}

/// Under the policy `Local` only the nodes of the same pods can share an address.
fn backend(spec: &ServiceSpec) -> String {
    match external_local(spec) {
        true => format!("{:?}", spec.selector),
        false => String::new(),
    }
}

/// What becomes of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is none of ours, or everything is as it should be.
    Leave,
    /// It gets these addresses, of the pool of that name.
    Assign {
        /// One per family.
        ips: Vec<IpAddr>,
        /// The pool.
        pool: String,
        /// Whether it has them already and only its annotation lacks.
        known: bool,
    },
    /// It loses its addresses; it no longer wants any.
    Clear,
    /// There is no address for it, for this reason. It loses those it has.
    Fail(String),
}

/// Whether the Service wants an address from us. Those of another class belong to that class's controller.
pub(super) fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
}

/// Whether it once got an address from us, although it may not want it any more.
fn was_ours(service: &Service) -> bool {
    let foreign = service.spec.as_ref().is_some_and(|spec| spec.load_balancer_class.is_some());
    crate::service::FROM_POOL.iter().any(|name| service.annotations().contains_key(*name)) && !foreign
}

/// Decides about one Service. `others` are the addresses of all others.
#[must_use]
pub fn decide(
    service: &Service,
    others: &[Taken],
    pools: &Pools,
    namespace_labels: &BTreeMap<String, String>,
) -> Decision {
    let present: Vec<IpAddr> = balancer_ips(service).collect();
    if !is_ours(service) || service.metadata.deletion_timestamp.is_some() {
        let cleared = was_ours(service) && !present.is_empty() && service.metadata.deletion_timestamp.is_none();
        return if cleared { Decision::Clear } else { Decision::Leave };
    }
    let namespace = service.namespace().unwrap_or_default();
    let asking = Asking { namespace: &namespace, namespace_labels, labels: service.labels() };
    let wish = match Wish::of(service) {
        Ok(wish) => wish,
        Err(reason) => return Decision::Fail(reason),
    };
    let own = Taken::new(service, BTreeSet::new());
    let request = Request { own: &own, others, pools, asking, wish: &wish };
    if let Some(pool) = request.keeps(&present) {
        let annotated = service.annotations().get(crate::service::FROM_POOL[0]) == Some(&pool.name);
        let known = Decision::Assign { ips: present, pool: pool.name.clone(), known: true };
        return if annotated { Decision::Leave } else { known };
    }
    match request.allocate() {
        Ok((ips, pool)) => Decision::Assign { ips, pool: pool.name.clone(), known: false },
        Err(reason) => Decision::Fail(reason),
    }
}

/// What a Service asks for.
#[derive(Debug, Default)]
struct Wish {
    families: Vec<Family>,
    /// Whether it must have all families.
    all_families: bool,
    ips: Vec<IpAddr>,
    pool: Option<String>,
}

impl Wish {
    fn of(service: &Service) -> Result<Self, String> {
        let Some(spec) = &service.spec else { return Ok(Self::default()) };
        let cluster_ips = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
        let families: Vec<_> = cluster_ips.map(Family::of).collect();
        if families.is_empty() {
            return Err("the Service has no cluster IP".into());
        }
        let wanted = annotation(service, ADDRESSES).map(|list| list.split(',').map(str::trim).collect::<Vec<_>>());
        let wanted = wanted
            .unwrap_or_else(|| spec.load_balancer_ip.as_deref().filter(|ip| !ip.is_empty()).into_iter().collect());
        let mut ips = Vec::new();
        for text in wanted {
            ips.push(
                text.parse()
                    .map_err(|_| format!("invalid spec.loadBalancerIP or annotation: {text:?} is no address"))?,
            );
        }
        let of_ips: BTreeSet<_> = ips.iter().copied().map(Family::of).collect();
        if of_ips.len() != ips.len() || of_ips.iter().any(|family| !families.contains(family)) {
            return Err(format!("the addresses that it asks for ({}) do not fit its IP families", list(&ips)));
        }
        let all_families = spec.ip_family_policy.as_deref() != Some("PreferDualStack");
        Ok(Self { families, all_families, ips, pool: annotation(service, POOL).map(Into::into) })
    }
}

struct Request<'a> {
    own: &'a Taken,
    others: &'a [Taken],
    pools: &'a Pools,
    asking: Asking<'a>,
    wish: &'a Wish,
}

impl<'a> Request<'a> {
    /// The pool of the addresses that the Service has, if it can keep them: they are what it asks for, and nobody who had
    /// them longer minds.
    fn keeps(&self, present: &[IpAddr]) -> Option<&'a Pool> {
        let pool = self.pools.of(*present.first()?)?;
        let families: BTreeSet<_> = present.iter().copied().map(Family::of).collect();
        let complete = match self.wish.all_families {
            true => self.wish.families.iter().all(|family| families.contains(family)),
            false => true,
        };
        let fits = complete
            && families.iter().all(|family| self.wish.families.contains(family))
            && present.iter().all(|ip| pool.contains(*ip))
            && pool.serves(self.asking)
            && self.wish.pool.as_ref().is_none_or(|wanted| *wanted == pool.name)
            && (self.wish.ips.is_empty() || self.wish.ips.iter().collect::<BTreeSet<_>>() == present.iter().collect());
        let senior = |other: &&Taken| other.since < self.own.since;
        let undisputed = present.iter().all(|ip| self.clash(*ip, self.others.iter().filter(senior)).is_none());
        (fits && undisputed).then_some(pool)
    }

    fn allocate(&self) -> Result<(Vec<IpAddr>, &'a Pool), String> {
        if let Some(first) = self.wish.ips.first() {
            return self.take_wanted(*first);
        }
        if let Some(name) = &self.wish.pool {
            let pool = self.pools.named(name).ok_or_else(|| format!("unknown pool {name:?}"))?;
            self.check_serves(pool)?;
            let ips = self.first_free(pool).ok_or_else(|| format!("no available IPs in pool {name:?}"))?;
            return Ok((ips, pool));
        }
        let mut pools = self.pools.automatic(self.asking).into_iter();
        pools.find_map(|pool| Some((self.first_free(pool)?, pool))).ok_or_else(|| "no available IPs".to_owned())
    }

    fn take_wanted(&self, first: IpAddr) -> Result<(Vec<IpAddr>, &'a Pool), String> {
        let ips = &self.wish.ips;
        let not_allowed = || format!("{} is not allowed in config", list(ips));
        let pool = self.pools.of(first).ok_or_else(not_allowed)?;
        if !ips.iter().all(|ip| pool.contains(*ip)) {
            return Err(not_allowed());
        }
        if let Some(wanted) = self.wish.pool.as_ref().filter(|wanted| **wanted != pool.name) {
            return Err(format!("{} is in pool {}, but the Service asks for pool {wanted:?}", list(ips), pool.name));
        }
        self.check_serves(pool)?;
        match ips.iter().find_map(|ip| Some((ip, self.clash(*ip, self.others)?))) {
            Some((ip, reason)) => Err(format!("can't assign {ip}: {reason}")),
            None => Ok((ips.clone(), pool)),
        }
    }

    fn check_serves(&self, pool: &Pool) -> Result<(), String> {
        match pool.serves(self.asking) {
            true => Ok(()),
            false => Err(format!("pool {:?} is not compatible with this Service", pool.name)),
        }
    }

    /// The first free address of each family.
    fn first_free(&self, pool: &Pool) -> Option<Vec<IpAddr>> {
        let free = |family: &Family| pool.addresses(*family).find(|ip| self.clash(*ip, self.others).is_none());
        let ips: Vec<_> = self.wish.families.iter().filter_map(free).collect();
        let enough = if self.wish.all_families { ips.len() == self.wish.families.len() } else { !ips.is_empty() };
        enough.then_some(ips)
    }

    fn clash<'o>(&self, ip: IpAddr, others: impl IntoIterator<Item = &'o Taken>) -> Option<String> {
        others.into_iter().filter(|other| other.ips.contains(&ip)).find_map(|other| self.own.clash(other))
    }
}

fn annotation<'a>(service: &'a Service, name: &str) -> Option<&'a str> {
    let annotations = service.metadata.annotations.as_ref()?;
    PREFIXES.iter().find_map(|prefix| annotations.get(&format!("{prefix}/{name}"))).map(|value| value.trim())
}

/// As MetalLB writes addresses into messages.
pub(super) fn list(ips: &[IpAddr]) -> String {
    format!("{:?}", ips.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
