//! What the scheduler knows of a pod: computed once, when the pod arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use knarr_api::quantity::Quantity;
use knarr_client::cache::Key;

use crate::relation::Relations;

/// Amounts of resources: CPU in thousandths of a core, everything else in its own unit. Names are interned by the caller's
/// spec; a missing one is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources(BTreeMap<String, i64>);

/// The resource that counts pods.
pub(crate) const PODS: &str = "pods";
pub(crate) const CPU: &str = "cpu";
pub(crate) const MEMORY: &str = "memory";

/// What a container without a CPU request is taken to use when nodes are ranked (upstream's
/// `DefaultMilliCPURequest`), so that such pods spread too.
pub(crate) const DEFAULT_CPU: i64 = 100;
/// Likewise for memory (`DefaultMemoryRequest`).
pub(crate) const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

impl Resources {
    /// Parses a Kubernetes resource list. Amounts that are no quantities were refused by the API server.
    pub(crate) fn parse(list: &BTreeMap<String, Text>) -> Self {
        let amount = |name: &String, text: &Text| {
            let quantity: Quantity = text.0.parse().ok()?;
            Some((name.clone(), if name == CPU { quantity.milli_value() } else { quantity.value() }))
        };
        Self(list.iter().filter_map(|(name, text)| amount(name, text)).collect())
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let own = self.slot(name);
            *own = own.saturating_add(amount);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let own = self.slot(name);
            *own = own.saturating_sub(amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let own = self.slot(name);
            *own = (*own).max(amount);
        }
    }

    fn default_to(&mut self, name: &str, amount: i64) {
        let own = self.slot(name);
        if *own == 0 {
            *own = amount;
        }
    }

    fn slot(&mut self, name: &str) -> &mut i64 {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), 0);
        }
        self.0.entry(name.to_owned()).or_default()
    }
}

/// A pod with everything that filters and scores ask of it.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: Key,
    /// What must be free on a node.
    pub(crate) requests: Resources,
    /// CPU and memory as ranking sees them: with defaults for containers that request nothing.
    pub(crate) weight: Resources,
    /// Host ports: address, protocol, port.
    pub(crate) host_ports: Vec<(String, String, i32)>,
    /// UID of the controlling owner; pods of one owner are spread.
    pub(crate) owner: Option<String>,
    /// What it asks of its neighbours.
    pub(crate) relations: Option<Arc<Relations>>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.as_ref();
        let owners = pod.metadata.owner_references.iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone());
        Self {
            key: Key::of(&*pod),
            requests: spec.map(|spec| requests(spec, &container_requests)).unwrap_or_default(),
            weight: spec.map(|spec| requests(spec, &container_weight)).unwrap_or_default(),
            host_ports: spec.map(host_ports).unwrap_or_default(),
            owner,
            relations: Relations::of(&pod).map(Arc::new),
            pod,
        }
    }

    pub(crate) fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    pub(crate) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn priority(&self) -> i32 {
        self.spec().priority.unwrap_or_default()
    }
}

fn container_requests(container: &Container) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requests.map(Resources::parse).unwrap_or_default()
}

fn container_weight(container: &Container) -> Resources {
    let mut requests = container_requests(container);
    requests.default_to(CPU, DEFAULT_CPU);
    requests.default_to(MEMORY, DEFAULT_MEMORY);
    requests
}

/// The effective request of a pod (KEP-753): the larger of what runs together in the end and of what each step of the
/// initialization needs while the sidecars started before it run; plus the overhead; replaced by pod-level requests
/// (KEP-2837) where they are given.
///
/// Worked example: sidecar 1, init 5, containers 2+2: while initializing 1+5=6, in the end 1+2+2=5, so 6.
fn requests(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            starting.raise_to(&sidecars);
        } else {
            let mut step = sidecars.clone();
            step.add(&own);
            starting.raise_to(&step);
        }
    }
    total.add(&sidecars);
    total.raise_to(&starting);
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if let Some(whole) = whole {
        for (name, amount) in Resources::parse(whole).iter() {
            *total.slot(name) = amount;
        }
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::parse(overhead));
    }
    total
}

fn host_ports(spec: &PodSpec) -> Vec<(String, String, i32)> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let used = ports.filter_map(|port| {
        let number = port.host_port.filter(|&number| number > 0)?;
        let address = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
    });
    used.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::pod;
    use serde_json::json;

    fn check(spec: serde_json::Value, cpu: i64) {
        let info = PodInfo::new(Arc::new(pod("p", spec.clone())));
        assert_eq!(info.requests.get(CPU), cpu, "{spec}");
    }

    #[test]
    fn effective_requests() {
        let c = |cpu: &str| json!({"name": cpu, "resources": {"requests": {"cpu": cpu}}});
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}});
        check(json!({"containers": [c("500m"), c("2")]}), 2500);
        check(json!({"containers": [c("1")], "initContainers": [c("3"), c("2")]}), 3000);
        check(json!({"containers": [c("2"), c("2")], "initContainers": [sidecar, c("5")]}), 6000);
        check(json!({"containers": [c("2"), c("2")], "initContainers": [c("4"), sidecar]}), 5000);
        check(json!({"containers": [c("1")], "overhead": {"cpu": "250m"}}), 1250);
        check(json!({"containers": [c("1")], "resources": {"requests": {"cpu": "3"}}}), 3000);
        check(json!({"containers": [{"name": "x"}]}), 0);
    }

    #[test]
    fn pods_without_requests_have_weight() {
        let info = PodInfo::new(Arc::new(pod("p", json!({"containers": [{"name": "x"}, {"name": "y"}]}))));
        assert_eq!((info.weight.get(CPU), info.weight.get(MEMORY)), (2 * DEFAULT_CPU, 2 * DEFAULT_MEMORY));
    }
}
