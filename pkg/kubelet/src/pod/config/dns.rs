//! Names inside a pod: resolv.conf and the hosts file.
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>

use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::cri::api;
use crate::pod::spec::PodExt as _;

/// How this node resolves names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// Addresses of the cluster's DNS.
    pub(crate) cluster: Vec<String>,
    /// For example `cluster.local`.
    pub(crate) domain: String,
    /// The node's own `nameserver`, `search` and `options`, as they are now: see [`Resolver::at`].
    pub(crate) node: api::DnsConfig,
}

impl Resolver {
    /// With what this resolv.conf says at the moment; it changes with the networks that the node is in. A file that is not
    /// there says nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn at(&self, resolv_conf: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(resolv_conf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => {
                text.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", resolv_conf.display())))?
            }
        };
        Ok(Self { node: Self::parse(&text), ..self.clone() })
    }

    /// Reads a resolv.conf (`resolv.conf(5)`).
    fn parse(text: &str) -> api::DnsConfig {
        let mut config = api::DnsConfig::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace().map(ToOwned::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => config.servers.extend(words.next()),
                Some("search") => config.searches = words.map(|name| name.trim_end_matches('.').to_owned()).collect(),
                Some("options") => config.options = words.collect(),
                _ => {}
            }
        }
        config.searches.retain(|name| !name.is_empty());
        config
    }

    /// What a pod's resolv.conf contains.
    pub(crate) fn of(&self, pod: &Pod) -> api::DnsConfig {
        let policy = pod.spec().dns_policy.as_deref().unwrap_or("ClusterFirst");
        let cluster = match policy {
            "None" => return merge(api::DnsConfig::default(), pod),
            "ClusterFirstWithHostNet" => true,
            "ClusterFirst" => !pod.host_network(),
            _ => false,
        };
        if !cluster || self.cluster.is_empty() {
            return merge(self.node.clone(), pod);
        }
        let domain = &self.domain;
        let own = [format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.clone()];
        let mut searches: Vec<String> = own.into();
        for name in &self.node.searches {
            if !searches.contains(name) {
                searches.push(name.clone());
            }
        }
        merge(api::DnsConfig { servers: self.cluster.clone(), searches, options: vec!["ndots:5".into()] }, pod)
    }
}

/// Adds the pod's own `dnsConfig`; an option of the same name replaces the former.
fn merge(mut config: api::DnsConfig, pod: &Pod) -> api::DnsConfig {
    let Some(own) = &pod.spec().dns_config else { return config };
    let add = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
        for item in more.iter().flatten() {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    };
    add(&mut config.servers, &own.nameservers);
    add(&mut config.searches, &own.searches);
    for option in own.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        let written = match &option.value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        };
        config.options.retain(|known| known.split(':').next() != Some(name.as_str()));
        config.options.push(written);
    }
    config
}

/// The hosts file that every container of the pod sees. A pod on the node's network gets the node's own, given as `node`.
pub(crate) fn hosts_file(pod: &Pod, hostname: &str, domain: &str, ips: &[String], node: Option<&str>) -> String {
    let mut text = match node {
        Some(node) => format!("# Kubernetes-managed hosts file (host network).\n{node}"),
        None => {
            let mut text = String::from(
                "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
            );
            for ip in ips {
                let full = if domain.is_empty() { String::new() } else { format!("{hostname}.{domain}\t") };
                text.push_str(&format!("{ip}\t{full}{hostname}\n"));
            }
            text
        }
    };
    let aliases: Vec<_> = pod.spec().host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::json;

    fn resolver() -> Resolver {
        let node = Resolver::parse(
            "# comment\nnameserver 192.0.2.53\nsearch example.com. other.example.\noptions timeout:1\n",
        );
        Resolver { cluster: vec!["10.43.0.10".into()], domain: "cluster.local".into(), node }
    }

    #[test]
    fn policies() {
        let cluster =
            ("10.43.0.10", "n.svc.cluster.local svc.cluster.local cluster.local example.com other.example", "ndots:5");
        let node = ("192.0.2.53", "example.com other.example", "timeout:1");
        for (spec, (servers, searches, options)) in [
            (json!({}), cluster),
            (json!({"hostNetwork": true}), node),
            (json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), cluster),
            (json!({"dnsPolicy": "Default"}), node),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                ("1.1.1.1", "x", "ndots:2 edns0"),
            ),
            (json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}), (cluster.0, cluster.1, "ndots:1")),
        ] {
            let made = resolver().of(&pod(spec.clone()));
            let joined = (made.servers.join(" "), made.searches.join(" "), made.options.join(" "));
            assert_eq!(joined, (servers.into(), searches.into(), options.into()), "{spec}");
        }
    }

    #[test]
    fn the_nodes_resolvers_are_those_of_now() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nameserver 192.0.2.99\n").unwrap();
        assert_eq!(resolver().at(file.path()).unwrap().node.servers, ["192.0.2.99"]);
        assert!(resolver().at(Path::new("/absent")).unwrap().node.servers.is_empty());
        assert!(resolver().at(Path::new("/")).unwrap_err().to_string().starts_with("/: "));
    }

    #[test]
    fn the_hosts_file_names_the_pod() {
        let aliases = json!({"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]});
        let text = hosts_file(&pod(aliases), "p", "sub.n.svc.cluster.local", &["10.42.0.5".into()], None);
        assert!(text.contains("10.42.0.5\tp.sub.n.svc.cluster.local\tp\n"), "{text}");
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
        let text = hosts_file(&pod(json!({})), "p", "", &[], Some("127.0.0.1 localhost\n"));
        assert_eq!(text, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n");
    }
}
