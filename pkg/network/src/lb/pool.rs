//! Pools as they are used: read once, checked as a whole.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use kube::core::{Selector, SelectorExt};
use kube::{Resource, ResourceExt};

use super::metallb::{IPAddressPool, ServiceAllocation};
use crate::{Cidr, Family, addr};

/// A range of addresses, with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    family: Family,
    first: u128,
    last: u128,
}

/// One pool.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) auto_assign: bool,
    ranges: Vec<Range>,
    avoid_buggy: bool,
    allocation: Option<Allocation>,
}

#[derive(Clone, Debug)]
struct Allocation {
    priority: u32,
    namespaces: Vec<String>,
    namespace_selectors: Vec<Selector>,
    service_selectors: Vec<Selector>,
}

/// All pools of a cluster, which do not overlap.
#[derive(Clone, Debug, Default)]
pub struct Pools(Vec<Pool>);

/// Why pools cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pool {pool}: {fault}")]
pub struct Invalid {
    /// The pool at fault.
    pub pool: String,
    fault: String,
}

/// What tells whether a pool serves a Service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) namespace: &'a str,
    pub(super) namespace_labels: &'a BTreeMap<String, String>,
    pub(super) labels: &'a BTreeMap<String, String>,
}

impl Pools {
    /// Reads all pools, in the order of their names.
    ///
    /// # Errors
    /// The first pool that makes no sense, by itself or beside the others.
    pub fn read(objects: &[Arc<IPAddressPool>]) -> Result<Self, Invalid> {
        let mut pools: Vec<Pool> = Vec::new();
        for object in objects {
            let pool = Pool::read(object)?;
            let taken = pools.iter().find(|other| other.overlaps(&pool));
            if let Some(other) = taken {
                let fault = format!("its addresses are also in pool {}", other.name);
                return Err(Invalid { pool: pool.name, fault });
            }
            pools.push(pool);
        }
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self(pools))
    }

    pub(super) fn named(&self, name: &str) -> Option<&Pool> {
        self.0.iter().find(|pool| pool.name == name)
    }

    /// The pool that an address belongs to.
    pub(super) fn of(&self, ip: IpAddr) -> Option<&Pool> {
        self.0.iter().find(|pool| pool.contains(ip))
    }

    /// Pools that a Service may get an address of without naming one: first those tied to it, by priority.
    pub(super) fn automatic(&self, asking: Asking<'_>) -> Vec<&Pool> {
        let serving = self.0.iter().filter(|pool| pool.auto_assign && pool.serves(asking));
        let mut pools: Vec<_> = serving.collect();
        pools.sort_by_key(|pool| match &pool.allocation {
            Some(allocation) => (0, if allocation.priority == 0 { u32::MAX } else { allocation.priority }),
            None => (1, 0),
        });
        pools
    }
}

impl Pool {
    fn read(object: &IPAddressPool) -> Result<Self, Invalid> {
        let name = object.name_any();
        let invalid = |fault: String| Invalid { pool: name.clone(), fault };
        let ranges = object
            .spec
            .addresses
            .iter()
            .map(|text| Range::read(text).ok_or_else(|| invalid(format!("{text:?} is no range"))));
        let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        if ranges.is_empty() {
            return Err(invalid("it has no addresses".into()));
        }
        let allocation = object.spec.service_allocation.as_ref();
        let allocation = allocation.map(Allocation::read).transpose().map_err(invalid)?;
        Ok(Self {
            labels: object.meta().labels.clone().unwrap_or_default(),
            auto_assign: object.spec.auto_assign,
            avoid_buggy: object.spec.avoid_buggy_ips,
            ranges,
            allocation,
            name,
        })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: &Range, b: &Range| a.family == b.family && a.first <= b.last && b.first <= a.last;
        self.ranges.iter().any(|own| other.ranges.iter().any(|range| meet(own, range)))
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let (family, bits) = (Family::of(ip), addr::bits(ip));
        let within = |range: &Range| range.family == family && range.first <= bits && bits <= range.last;
        self.ranges.iter().any(within) && !(self.avoid_buggy && is_buggy(ip))
    }

    /// Whether the pool is not tied to others than this Service.
    pub(super) fn serves(&self, asking: Asking<'_>) -> bool {
        self.allocation.as_ref().is_none_or(|allocation| allocation.serves(asking))
    }

    /// The addresses of a family, in order.
    pub(super) fn addresses(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let ranges = self.ranges.iter().filter(move |range| range.family == family);
        let all =
            ranges.flat_map(move |range| (range.first..=range.last).map(move |bits| addr::from_bits(family, bits)));
        all.filter(|ip| !(self.avoid_buggy && is_buggy(*ip)))
    }
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let range: Cidr = text.parse().ok()?;
                (range.address(), range.last())
            }
        };
        let range = Self { family: Family::of(first), first: addr::bits(first), last: addr::bits(last) };
        (Family::of(last) == range.family && range.first <= range.last).then_some(range)
    }
}

impl Allocation {
    fn read(spec: &ServiceAllocation) -> Result<Self, String> {
        let selectors = |list: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector]| {
            list.iter()
                .map(|own| Selector::try_from(own.clone()).map_err(|error| error.to_string()))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            priority: spec.priority,
            namespaces: spec.namespaces.clone(),
            namespace_selectors: selectors(&spec.namespace_selectors)?,
            service_selectors: selectors(&spec.service_selectors)?,
        })
    }

    fn serves(&self, asking: Asking<'_>) -> bool {
        let by_namespace = self.namespaces.iter().any(|namespace| namespace == asking.namespace)
            || self.namespace_selectors.iter().any(|selector| selector.matches(asking.namespace_labels));
        let any_namespace = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        let by_labels = self.service_selectors.iter().any(|selector| selector.matches(asking.labels));
        (any_namespace || by_namespace) && (self.service_selectors.is_empty() || by_labels)
    }
}

/// Some equipment takes these for the address of a network or for its broadcast address.
const fn is_buggy(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets()[3], 0 | 255),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(in crate::lb) fn pools(objects: Value) -> Result<Pools, Invalid> {
        let read = |(name, spec): (String, Value)| {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).map(Arc::new).unwrap()
        };
        let Value::Object(objects) = objects else { panic!("pools by name") };
        Pools::read(&objects.into_iter().map(read).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_come_in_order_and_buggy_ones_can_be_avoided() {
        let all = |pools: &Pools| -> Vec<_> {
            pools.named("p").unwrap().addresses(Family::V4).map(|ip| ip.to_string()).collect()
        };
        let ranges = json!(["192.0.2.254-192.0.3.1", "198.51.100.0/31", "fd00::/126"]);
        let plain = pools(json!({"p": {"addresses": ranges}})).unwrap();
        assert_eq!(
            all(&plain),
            ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1", "198.51.100.0", "198.51.100.1"]
        );
        let careful = pools(json!({"p": {"addresses": ranges, "avoidBuggyIPs": true}})).unwrap();
        assert_eq!(all(&careful), ["192.0.2.254", "192.0.3.1", "198.51.100.1"]);
        assert!(careful.of("192.0.2.255".parse().unwrap()).is_none());
        assert_eq!(careful.named("p").unwrap().addresses(Family::V6).count(), 4);
    }

    #[test]
    fn pools_that_make_no_sense_are_refused_with_a_reason() {
        for (objects, reason) in [
            (json!({"p": {"addresses": []}}), "pool p: it has no addresses"),
            (json!({"p": {"addresses": ["192.0.2.1"]}}), "pool p: \"192.0.2.1\" is no range"),
            (json!({"p": {"addresses": ["192.0.2.9-192.0.2.1"]}}), "pool p: \"192.0.2.9-192.0.2.1\" is no range"),
            (json!({"p": {"addresses": ["192.0.2.9-fd00::1"]}}), "pool p: \"192.0.2.9-fd00::1\" is no range"),
            (
                json!({"a": {"addresses": ["192.0.2.0/24"]}, "b": {"addresses": ["192.0.2.7-192.0.2.8"]}}),
                "pool b: its addresses are also in pool a",
            ),
        ] {
            assert_eq!(pools(objects).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn pools_tied_to_a_service_come_first_by_priority() {
        let range = |third: u8| vec![format!("192.0.{third}.0/24")];
        let pools = pools(json!({
            "a-general": {"addresses": range(1)},
            "b-last": {"addresses": range(2), "serviceAllocation": {"namespaces": ["shop"]}},
            "c-second": {"addresses": range(3), "serviceAllocation": {"priority": 9, "serviceSelectors": [
                {"matchLabels": {"app": "web"}}, {"matchExpressions": [{"key": "x", "operator": "Exists"}]}]}},
            "d-first": {"addresses": range(4), "serviceAllocation": {"priority": 1, "namespaceSelectors": [
                {"matchLabels": {"team": "a"}}]}},
            "e-manual": {"addresses": range(5), "autoAssign": false},
        }))
        .unwrap();
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let names = |namespace, namespace_labels: &[(&str, &str)], own: &[(&str, &str)]| -> Vec<String> {
            let (namespace_labels, own) = (labels(namespace_labels), labels(own));
            let asking = Asking { namespace, namespace_labels: &namespace_labels, labels: &own };
            pools.automatic(asking).into_iter().map(|pool| pool.name.clone()).collect()
        };
        assert_eq!(names("default", &[], &[]), ["a-general"]);
        assert_eq!(names("shop", &[("team", "a")], &[("app", "web")]), ["d-first", "c-second", "b-last", "a-general"]);
        assert_eq!(names("other", &[("team", "b")], &[("x", "1")]), ["c-second", "a-general"]);
    }
}
