//! Who announces which address: a function of what everybody sees, so that nodes agree without talking to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use knarr_client::Key;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use sha2::{Digest, Sha256};

use super::allocation::is_ours;
use super::metallb::L2Advertisement;
use super::pool::{Pool, Pools};
use crate::service::{balancer_ips, external_local};

/// Keeps load balancers away from a node.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What this node announces for one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The Services that have the address.
    pub services: Vec<Key>,
    /// The links to announce on; `None` means all.
    pub interfaces: Option<BTreeSet<String>>,
    /// Whether no other node could take over.
    pub alone: bool,
    /// Whether a label keeps load balancers away from this node, which would leave nobody to answer.
    pub despite_label: bool,
}

/// What a node sees of the cluster.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Its own name.
    pub node: &'a str,
    /// All nodes.
    pub nodes: &'a [Arc<Node>],
    /// All Services with their EndpointSlices.
    pub services: &'a [(Arc<Service>, Vec<Arc<EndpointSlice>>)],
    /// All pools.
    pub pools: &'a Pools,
    /// All advertisements.
    pub advertisements: &'a [Arc<L2Advertisement>],
}

/// The addresses that this node announces.
#[must_use]
pub fn announcements(seen: &Seen<'_>) -> BTreeMap<IpAddr, Announcement> {
    let mut all = BTreeMap::<IpAddr, Announcement>::new();
    for (service, slices) in seen.services.iter().filter(|(service, _)| is_ours(service)) {
        for ip in balancer_ips(service) {
            let Some(own) = seen.of(service, slices, ip) else { continue };
            let shared =
                all.entry(ip).or_insert_with(|| Announcement { interfaces: own.interfaces.clone(), ..own.clone() });
            if !shared.services.contains(&Key::of(service.as_ref())) {
                shared.services.push(Key::of(service.as_ref()));
            }
            shared.alone &= own.alone;
        }
    }
    all
}

impl Seen<'_> {
    /// `None` when another node announces the address, or nobody does.
    fn of(&self, service: &Service, slices: &[Arc<EndpointSlice>], ip: IpAddr) -> Option<Announcement> {
        let pool = self.pools.of(ip)?;
        let advertisements: Vec<_> = self.advertisements.iter().filter(|own| advertises(own, pool)).collect();
        let serving = serving_nodes(slices)?;
        let local = service.spec.as_ref().is_some_and(external_local);
        let eligible = self.nodes.iter().filter(|node| {
            let name = node.name_any();
            (!local || serving.contains(&name))
                && self.is_alive(node, &name)
                && advertisements.iter().any(|own| selects(&own.spec.node_selectors, node.labels()))
        });
        let eligible: Vec<String> = eligible.map(|node| node.name_any()).collect();
        let elected = eligible.iter().min_by_key(|node| Sha256::digest(format!("{node}#{ip}")))?;
        let own = self.nodes.iter().find(|node| node.name_any() == self.node)?;
        let here = advertisements.into_iter().filter(|it| selects(&it.spec.node_selectors, own.labels()));
        (elected == self.node).then(|| Announcement {
            services: vec![Key::of(service)],
            interfaces: interfaces(here),
            alone: eligible.len() == 1,
            despite_label: own.labels().contains_key(EXCLUDE),
        })
    }

    /// This node is alive, as it runs this. A cluster of one node has no other to send load balancers to.
    fn is_alive(&self, node: &Node, name: &str) -> bool {
        let condition = |kind: &str| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter(|condition| condition.type_ == kind).map(|condition| condition.status.as_str()).next()
        };
        let excluded = node.labels().contains_key(EXCLUDE) && self.nodes.len() > 1;
        let ready = name == self.node || condition("Ready") == Some("True");
        ready && !excluded && condition("NetworkUnavailable") != Some("True")
    }
}

/// The union over all advertisements: one without interfaces means all.
fn interfaces<'a>(advertisements: impl Iterator<Item = &'a Arc<L2Advertisement>>) -> Option<BTreeSet<String>> {
    let mut interfaces = BTreeSet::new();
    for advertisement in advertisements {
        if advertisement.spec.interfaces.is_empty() {
            return None;
        }
        interfaces.extend(advertisement.spec.interfaces.iter().cloned());
    }
    Some(interfaces)
}

fn advertises(advertisement: &L2Advertisement, pool: &Pool) -> bool {
    let spec = &advertisement.spec;
    let everything = spec.ip_address_pools.is_empty() && spec.ip_address_pool_selectors.is_empty();
    let named = spec.ip_address_pools.contains(&pool.name);
    everything || named || any_matches(&spec.ip_address_pool_selectors, &pool.labels)
}

fn selects(selectors: &[LabelSelector], labels: &BTreeMap<String, String>) -> bool {
    selectors.is_empty() || any_matches(selectors, labels)
}

/// A selector that makes no sense selects nothing; the API server refuses such objects.
fn any_matches(selectors: &[LabelSelector], labels: &BTreeMap<String, String>) -> bool {
    selectors.iter().any(|own| Selector::try_from(own.clone()).is_ok_and(|own| own.matches(labels)))
}

/// The nodes with an endpoint that can answer; `None` when there is no such endpoint at all.
fn serving_nodes(slices: &[Arc<EndpointSlice>]) -> Option<BTreeSet<String>> {
    let mut serving =
        slices.iter().flat_map(|slice| &slice.endpoints).filter(|endpoint| can_serve(endpoint)).peekable();
    serving.peek()?;
    Some(serving.filter_map(|endpoint| endpoint.node_name.clone()).collect())
}

fn can_serve(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_none_or(|conditions| conditions.serving.or(conditions.ready).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::super::pool::tests::pools;
    use super::*;
    use serde_json::{Value, json};

    struct Cluster {
        nodes: Vec<Arc<Node>>,
        advertisements: Vec<Arc<L2Advertisement>>,
        service: Value,
        endpoints: Vec<Value>,
    }

    fn cluster(nodes: &[&str]) -> Cluster {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            advertisements: Vec::new(),
            service: json!({
                "metadata": {"namespace": "default", "name": "web"}, "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.240"}]}},
            }),
            endpoints: vec![json!({"addresses": ["10.42.0.2"], "nodeName": nodes[0]})],
        };
        nodes.iter().for_each(|name| cluster.node(name, json!({}), &[("Ready", "True")]));
        cluster.advertise(json!({}));
        cluster
    }

    impl Cluster {
        fn node(&mut self, name: &str, labels: Value, conditions: &[(&str, &str)]) {
            let condition = |(kind, status): &(&str, &str)| json!({"type": kind, "status": status});
            let conditions: Vec<_> = conditions.iter().map(condition).collect();
            let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}});
            self.nodes.retain(|node| node.name_any() != name);
            self.nodes.push(Arc::new(serde_json::from_value(node).unwrap()));
        }

        fn advertise(&mut self, spec: Value) {
            let object = json!({"metadata": {"name": "a"}, "spec": spec});
            self.advertisements.push(Arc::new(serde_json::from_value(object).unwrap()));
        }

        fn seen_by(&self, node: &str) -> Option<Announcement> {
            let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": self.endpoints, "ports": []});
            let service = serde_json::from_value(self.service.clone()).unwrap();
            let slice = serde_json::from_value(slice).unwrap();
            let seen = Seen {
                node,
                nodes: &self.nodes,
                services: &[(Arc::new(service), vec![Arc::new(slice)])],
                pools: &pools(json!({"p": {"addresses": ["192.0.2.240/28"]}})).unwrap(),
                advertisements: &self.advertisements,
            };
            announcements(&seen).remove(&"192.0.2.240".parse().unwrap())
        }

        fn announcers(&self) -> Vec<String> {
            let names = self.nodes.iter().map(|node| node.name_any());
            let mut names: Vec<_> = names.filter(|node| self.seen_by(node).is_some()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn exactly_one_node_announces_as_metallb_elects_it() {
        let cluster = cluster(&["n1", "n2", "n3"]);
        let elected = cluster.announcers();
        let least = ["n1", "n2", "n3"].iter().min_by_key(|node| Sha256::digest(format!("{node}#192.0.2.240")));
        assert_eq!(elected, [*least.unwrap()]);
        assert!(!cluster.seen_by(&elected[0]).unwrap().alone);
    }

    #[test]
    fn nodes_that_cannot_answer_are_not_elected() {
        let unready = |conditions: &[(&str, &str)], labels: Value| {
            let mut cluster = cluster(&["n1", "n2"]);
            cluster.node("n2", labels, conditions);
            let announcement = cluster.seen_by("n1").unwrap();
            assert!(announcement.alone && !announcement.despite_label);
        };
        unready(&[("Ready", "Unknown")], json!({}));
        unready(&[("Ready", "True"), ("NetworkUnavailable", "True")], json!({}));
        unready(&[("Ready", "True")], json!({EXCLUDE: ""}));
    }

    #[test]
    fn a_single_node_announces_whatever_its_label_and_says_so() {
        let mut cluster = cluster(&["n1"]);
        cluster.node("n1", json!({EXCLUDE: "true"}), &[("Ready", "False")]);
        let announcement = cluster.seen_by("n1").unwrap();
        assert!(announcement.alone && announcement.despite_label);
    }

    #[test]
    fn under_the_policy_local_only_nodes_with_an_endpoint_count() {
        let mut cluster = cluster(&["n1", "n2"]);
        cluster.service["spec"]["externalTrafficPolicy"] = "Local".into();
        assert_eq!(cluster.announcers(), ["n1"]);
        cluster.endpoints = vec![json!({"addresses": ["10.42.1.2"], "nodeName": "n2"})];
        assert_eq!(cluster.announcers(), ["n2"]);
    }

    #[test]
    fn without_anybody_to_serve_nobody_announces() {
        for endpoints in
            [vec![], vec![json!({"addresses": ["10.42.0.2"], "conditions": {"ready": false, "serving": false}})]]
        {
            let mut cluster = cluster(&["n1"]);
            cluster.endpoints = endpoints;
            assert_eq!(cluster.seen_by("n1"), None);
        }
        let mut cluster = cluster(&["n1"]);
        cluster.endpoints = vec![json!({"addresses": ["10.42.0.2"], "conditions": {"ready": false, "serving": true}})];
        assert!(cluster.seen_by("n1").is_some(), "it terminates and still serves");
    }

    #[test]
    fn advertisements_say_what_where_and_on_which_links() {
        let seen = |specs: &[Value], node: &str| {
            let mut cluster = cluster(&["n1"]);
            cluster.advertisements.clear();
            cluster.node(node, json!({"rack": "a"}), &[]);
            specs.iter().for_each(|spec| cluster.advertise(spec.clone()));
            cluster
                .seen_by(node)
                .map(|announcement| announcement.interfaces.map(|all| all.into_iter().collect::<Vec<_>>()))
        };
        let named = |interfaces: &[&str]| json!({"ipAddressPools": ["p"], "interfaces": interfaces});
        assert_eq!(seen(&[], "n1"), None);
        assert_eq!(seen(&[json!({})], "n1"), Some(None));
        assert_eq!(seen(&[json!({"ipAddressPools": ["other"]})], "n1"), None);
        assert_eq!(seen(&[named(&["eth1"]), named(&["eth0"])], "n1"), Some(Some(vec!["eth0".into(), "eth1".into()])));
        assert_eq!(seen(&[named(&["eth1"]), named(&[])], "n1"), Some(None));
        let rack = |rack: &str| json!({"nodeSelectors": [{"matchLabels": {"rack": rack}}], "interfaces": [rack]});
        assert_eq!(seen(&[rack("a"), rack("b")], "n1"), Some(Some(vec!["a".into()])));
        assert_eq!(seen(&[rack("b")], "n1"), None);
    }
}
