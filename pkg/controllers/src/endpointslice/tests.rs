//! Which endpoints stand in which slices.

use k8s_openapi::api::core::v1::{ContainerPort, PodIP, ServicePort};
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::pods::tests::{at, pod};

fn service(spec: serde_json::Value) -> Service {
    let mut service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "s", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.43.0.9", "ipFamilies": ["IPv4"],
                 "ports": [{"port": 80, "targetPort": 8080}]},
    }))
    .unwrap();
    let mut merged = serde_json::to_value(service.spec.take()).unwrap();
    json_merge(&mut merged, spec);
    service.spec = serde_json::from_value(merged).unwrap();
    service
}

fn json_merge(into: &mut serde_json::Value, from: serde_json::Value) {
    if let serde_json::Value::Object(from) = from {
        into.as_object_mut().unwrap().extend(from);
    }
}

fn with_ip(mut pod: Pod, ips: &[&str]) -> Pod {
    let status = pod.status.as_mut().unwrap();
    status.pod_ip = ips.first().map(|&ip| ip.to_owned());
    status.pod_ips = Some(ips.iter().map(|&ip| PodIP { ip: ip.to_owned() }).collect());
    pod
}

fn deleting(mut pod: Pod) -> Pod {
    pod.metadata.deletion_timestamp = Some(Time(at(0)));
    pod
}

fn node(zone: &str) -> impl Fn(&str) -> Option<Arc<Node>> {
    let mut node = Node::default();
    node.metadata.labels = Some([("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into());
    let node = Arc::new(node);
    move |name| (name == "n").then(|| node.clone())
}

fn endpoints(service: &Service, family: &str, pods: &[Pod]) -> Vec<Endpoint> {
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    endpoint::groups(service, family, &pods, node("z")).into_values().flat_map(|(_, endpoints)| endpoints).collect()
}

#[test]
fn conditions_of_endpoints() {
    let plain = service(json!({}));
    let published = service(json!({"publishNotReadyAddresses": true}));
    let ready = with_ip(pod("a", "n", "Running", Some(0)), &["10.0.0.1"]);
    let starting = with_ip(pod("a", "n", "Running", None), &["10.0.0.1"]);
    // (service, pod) -> (ready, serving, terminating)
    let cases = [
        (&plain, ready.clone(), Some((true, true, false))),
        (&plain, starting.clone(), Some((false, false, false))),
        (&plain, deleting(ready.clone()), Some((false, true, true))),
        (&published, deleting(starting.clone()), Some((true, false, true))),
        (&plain, with_ip(pod("a", "n", "Succeeded", None), &["10.0.0.1"]), None),
        (&plain, with_ip(pod("a", "n", "Running", Some(0)), &[]), None),
        (&plain, with_ip(pod("a", "unknown", "Running", Some(0)), &["10.0.0.1"]), None),
        (&published, with_ip(pod("a", "unknown", "Running", Some(0)), &["10.0.0.1"]), Some((true, true, false))),
    ];
    for (number, (service, pod, expected)) in cases.into_iter().enumerate() {
        let found = endpoints(service, "IPv4", &[pod]);
        let conditions = found.first().and_then(|endpoint| endpoint.conditions.clone());
        let found = conditions.map(|c| (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap()));
        assert_eq!(found, expected, "case {number}");
    }
}

#[test]
fn families_zones_hostnames_and_hints() {
    let service = service(json!({"ipFamilies": ["IPv6", "IPv4"], "trafficDistribution": "PreferClose"}));
    assert_eq!(endpoint::address_types(&service), ["IPv4", "IPv6"]);
    let mut pod = with_ip(pod("a", "n", "Running", Some(0)), &["10.0.0.1", "fd00::1"]);
    let spec = pod.spec.as_mut().unwrap();
    (spec.hostname, spec.subdomain) = (Some("db-0".into()), Some("web".into()));
    let found = &endpoints(&service, "IPv6", &[pod])[0];
    assert_eq!(found.addresses, ["fd00::1"]);
    assert_eq!((found.hostname.as_deref(), found.zone.as_deref()), (Some("db-0"), Some("z")));
    assert_eq!(found.hints.as_ref().unwrap().for_zones.as_ref().unwrap()[0].name, "z");
    assert_eq!(found.target_ref.as_ref().unwrap().uid.as_deref(), Some("uid-a"));
}

#[test]
fn named_target_ports_are_looked_up_per_pod() {
    let service = service(json!({"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}));
    let named = |name: &str, number: i32| {
        let mut pod = with_ip(pod(name, "n", "Running", Some(0)), &["10.0.0.1"]);
        let port = ContainerPort { name: Some("http".into()), container_port: number, ..Default::default() };
        let container = k8s_openapi::api::core::v1::Container { ports: Some(vec![port]), ..Default::default() };
        pod.spec.as_mut().unwrap().containers = vec![container];
        Arc::new(pod)
    };
    let groups = endpoint::groups(&service, "IPv4", &[named("a", 8080), named("b", 8081), named("c", 8080)], node("z"));
    let numbers: Vec<_> = groups.values().map(|(ports, endpoints)| (ports[0].port.unwrap(), endpoints.len())).collect();
    assert_eq!(numbers, [(8080, 2), (8081, 1)]);
    let udp = ServicePort { protocol: Some("UDP".into()), ..service.spec.unwrap().ports.unwrap()[0].clone() };
    assert_eq!(endpoint::target_port(&named("a", 8080), &udp), None, "the container's port is TCP");
}

/// A little world: slices of capacity 3 that a plan is applied to.
#[derive(Default)]
struct World {
    slices: Vec<Arc<EndpointSlice>>,
    made: usize,
}

impl World {
    /// Wants endpoints of these names; says how many slices were created, updated, deleted.
    fn want(&mut self, names: impl IntoIterator<Item = usize>) -> (usize, usize, usize) {
        let service = service(json!({}));
        let pods: Vec<_> = names
            .into_iter()
            .map(|number| {
                Arc::new(with_ip(pod(&format!("p{number}"), "n", "Running", Some(0)), &[&format!("10.0.0.{number}")]))
            })
            .collect();
        let groups = endpoint::groups(&service, "IPv4", &pods, node("z"));
        let plan = plan::plan(&Frame { empty: frame(&service, "IPv4"), capacity: 3 }, groups, self.slices.clone());
        let counts = (plan.create.len(), plan.update.len(), plan.delete.len());
        self.slices.retain(|slice| !plan.delete.contains(slice));
        for new in plan.update {
            let at = self.slices.iter().position(|old| old.name_any() == new.name_any()).unwrap();
            self.slices[at] = Arc::new(new);
        }
        for mut new in plan.create {
            self.made += 1;
            new.metadata.name = Some(format!("web-{}", self.made));
            self.slices.push(Arc::new(new));
        }
        let mut held: Vec<_> = self.slices.iter().flat_map(|slice| &slice.endpoints).map(|e| &e.addresses[0]).collect();
        held.sort();
        let mut wanted: Vec<_> = pods.iter().map(|pod| endpoint::address(pod, "IPv4").unwrap()).collect();
        wanted.sort_unstable();
        assert_eq!(held, wanted);
        assert!(self.slices.iter().all(|slice| slice.endpoints.len() <= 3));
        counts
    }
}

#[test]
fn few_writes_keep_slices_full() {
    let mut world = World::default();
    assert_eq!(world.want([]), (1, 0, 0), "a Service without endpoints has one empty slice");
    assert_eq!(world.want([]), (0, 0, 0));
    assert_eq!(world.want(1..=2), (0, 1, 0), "the empty slice is reused");
    assert_eq!(world.want(1..=7), (2, 0, 0), "full slices are made first, and the rest goes where it fits at once");
    assert_eq!(world.want(1..=7), (0, 0, 0));
    assert_eq!(world.want([1, 3, 4, 5, 6, 7, 8]), (0, 1, 0), "what replaces another takes its place");
    let (created, _, _) = world.want([1]);
    assert_eq!((created, world.slices.len()), (0, 1));
    assert_eq!(world.want([]), (0, 1, 0));
    assert!(world.slices[0].endpoints.is_empty());
}

#[test]
fn slices_name_their_service() {
    let headless = service(json!({"clusterIP": "None"}));
    let slice = frame(&headless, "IPv4");
    let expected = [
        ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
        ("kubernetes.io/service-name", "web"),
        ("service.kubernetes.io/headless", ""),
        ("team", "a"),
    ];
    assert_eq!(slice.labels().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(slice.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(slice.metadata.owner_references.unwrap()[0].uid, "s");
}

#[test]
fn only_visible_changes_of_pods_count() {
    let services = Cache::fixed([service(json!({})), service(json!({"selector": {"app": "other"}}))]);
    let change = |old: Pod, new: Option<Pod>| {
        let (key, new) = (Key::of(&old), new.map(Arc::new));
        affected(&services, &Change { key, old: Some(Arc::new(old)), new }).len()
    };
    let services_one = Cache::fixed([service(json!({}))]);
    let base = pod("a", "n", "Running", None);
    let mut touched = base.clone();
    touched.metadata.resource_version = Some("9".into());
    assert_eq!(change(base.clone(), Some(touched)), 0);
    let ready = pod("a", "n", "Running", Some(0));
    let one =
        affected(&services_one, &Change { key: Key::of(&base), old: Some(Arc::new(base)), new: Some(Arc::new(ready)) });
    assert_eq!(one, [Key::new("shop", "web"), Key::new("shop", "web")]);
}
