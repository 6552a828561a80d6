//! Services and what is around them, and the kinds of MetalLB.

use super::column::{Cell, Column, age, flag, name, text};
use super::text::{first, join, labels};
use crate::Object;
use crate::tree::Tree;

/// Kinds and their columns.
pub(super) const KINDS: &[(&str, &str, &[Column])] = &[
    (
        "",
        "Service",
        &[
            name(),
            text("Type", "How it is exposed.", Cell::Text("spec.type", "")),
            text("Cluster-IP", "Its address in the cluster.", Cell::With(cluster_ip)),
            text("External-IP", "Its addresses from outside.", Cell::With(external_ip)),
            text("Port(s)", "Its ports, with node ports.", Cell::With(ports)),
            age(),
            text("Selector", "Which pods serve it.", Cell::With(|service| labels(service.map("spec.selector")))).wide(),
        ],
    ),
    ("", "Endpoints", &[name(), text("Endpoints", "Addresses and ports that serve.", Cell::With(endpoints)), age()]),
    (
        "discovery.k8s.io",
        "EndpointSlice",
        &[
            name(),
            text("AddressType", "IPv4, IPv6 or FQDN.", Cell::Text("addressType", "")),
            text("Ports", "Ports that serve.", Cell::With(slice_ports)),
            text("Endpoints", "Addresses that serve.", Cell::With(slice_endpoints)),
            age(),
        ],
    ),
    (
        "networking.k8s.io",
        "Ingress",
        &[
            name(),
            text(
                "Class",
                "The name of the IngressClass resource that should be used for additional configuration",
                Cell::Text("spec.ingressClassName", "<none>"),
            ),
            text(
                "Hosts",
                "Hosts that incoming requests are matched against before the ingress rule",
                Cell::With(hosts),
            ),
            text(
                "Address",
                "Address is a list containing ingress points for the load-balancer",
                Cell::With(|ingress| join(balancer(ingress).iter().map(String::as_str))),
            ),
            text("Ports", "Ports of TLS configurations that open", Cell::With(ingress_ports)),
            age(),
        ],
    ),
    (
        "networking.k8s.io",
        "IngressClass",
        &[
            name(),
            text(
                "Controller",
                "Controller that is responsible for handling this class",
                Cell::Text("spec.controller", ""),
            ),
            text("Parameters", "A reference to a resource with additional parameters", Cell::With(parameters)),
            age(),
        ],
    ),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        &[name(), text("Pod-Selector", "Which pods it isolates.", Cell::Selector("spec.podSelector")), age()],
    ),
    (
        "networking.k8s.io",
        "ServiceCIDR",
        &[name(), text("CIDRs", "Ranges of service addresses.", Cell::Joined("spec.cidrs", "")), age()],
    ),
    ("networking.k8s.io", "IPAddress", &[name(), text("ParentRef", "Who uses it.", Cell::With(parent)), age()]),
    (
        "metallb.io",
        "IPAddressPool",
        &[
            name(),
            flag("Auto Assign", "Whether it serves those who ask for no pool.", Cell::Json("spec.autoAssign")),
            flag("Avoid Buggy IPs", "Whether .0 and .255 are left out.", Cell::Json("spec.avoidBuggyIPs")),
            text("Addresses", "Its ranges.", Cell::Json("spec.addresses")),
        ],
    ),
    (
        "metallb.io",
        "L2Advertisement",
        &[
            name(),
            text("IPAddressPools", "Pools to announce.", Cell::Json("spec.ipAddressPools")),
            text("IPAddressPool Selectors", "Pools to announce, by label.", Cell::Json("spec.ipAddressPoolSelectors")),
            text("Interfaces", "Where to announce them.", Cell::Json("spec.interfaces")),
            text("Node Selectors", "Which nodes may announce.", Cell::Json("spec.nodeSelectors")).priority(10),
        ],
    ),
];

fn cluster_ip(service: &Object) -> String {
    service.texts("spec.clusterIPs").next().unwrap_or("<none>").into()
}

/// Addresses or names of the load balancer, sorted.
fn balancer(object: &Object) -> Vec<String> {
    let address = |ingress: &Object| match ingress.text("ip") {
        "" => ingress.text("hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let ingress = object.objects("status.loadBalancer.ingress");
    let mut all: Vec<_> = ingress.map(address).filter(|address| !address.is_empty()).collect();
    all.sort();
    all.dedup();
    all
}

fn external_ip(service: &Object) -> String {
    let external = service.texts("spec.externalIPs").map(str::to_owned);
    let (addresses, none): (Vec<_>, _) = match service.text("spec.type") {
        "ClusterIP" | "NodePort" => (external.collect(), "<none>"),
        "LoadBalancer" => (balancer(service).into_iter().chain(external).collect(), "<pending>"),
        "ExternalName" => (vec![service.text("spec.externalName").to_owned()], ""),
        _ => (Vec::new(), "<unknown>"),
    };
    if addresses.is_empty() { none.into() } else { addresses.join(",") }
}

fn ports(service: &Object) -> String {
    let text = |port: &Object| {
        let (number, protocol) = (port.number("port"), port.text("protocol"));
        match port.number("nodePort") {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    };
    let all: Vec<_> = service.objects("spec.ports").map(text).collect();
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

fn endpoints(object: &Object) -> String {
    let mut all = Vec::new();
    for subset in object.objects("subsets") {
        let addresses = || subset.objects("addresses").map(|address| address.text("ip"));
        if subset.list("ports").is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in subset.objects("ports") {
            all.extend(addresses().map(|address| with_port(address, port.number("port"))));
        }
    }
    first(&all, 3, ",", if object.list("subsets").is_empty() { "<none>" } else { "<unset>" })
}

fn with_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn slice_ports(slice: &Object) -> String {
    let text = |port: &Object| match (port.int("port"), port.text("name")) {
        (Some(number), _) => number.to_string(),
        (None, _) if !port.has("name") => "*".into(),
        (None, name) => name.to_owned(),
    };
    first(&slice.objects("ports").map(text).collect::<Vec<_>>(), 3, ",", "<unset>")
}

fn slice_endpoints(slice: &Object) -> String {
    let all: Vec<_> = slice.objects("endpoints").flat_map(|endpoint| endpoint.texts("addresses")).collect();
    first(&all, 3, ",", "<unset>")
}

fn hosts(ingress: &Object) -> String {
    let all: Vec<_> =
        ingress.objects("spec.rules").map(|rule| rule.text("host")).filter(|host| !host.is_empty()).collect();
    first(&all, 3, ",", "*")
}

fn ingress_ports(ingress: &Object) -> String {
    if ingress.list("spec.tls").is_empty() { "80".into() } else { "80, 443".into() }
}

fn parameters(class: &Object) -> String {
    let Some(parameters) = class.object("spec.parameters") else { return "<none>".into() };
    let kind = match parameters.text("apiGroup") {
        "" => parameters.text("kind").to_owned(),
        group => format!("{}.{group}", parameters.text("kind")),
    };
    format!("{kind}/{}", parameters.text("name"))
}

fn parent(address: &Object) -> String {
    let Some(parent) = address.object("spec.parentRef") else { return "<none>".into() };
    let resource = match parent.text("group") {
        "" => parent.text("resource").to_lowercase(),
        group => format!("{}.{group}", parent.text("resource")).to_lowercase(),
    };
    let parts = [resource.as_str(), parent.text("namespace"), parent.text("name")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}
