//! Everything that one server keeps in its PKI directory.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use knarr_base::Shutdown;

use crate::leaf::SubjectAltName;
use crate::{Authority, Error, Profile, Rotating, TokenKeys, disk, validity};

/// How often certificates are looked at. The wall clock may be set at any moment, so that no timer can be trusted to
/// end in time; looking costs a comparison each.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// The names that the certificates carry.
#[derive(Clone, Debug)]
pub struct Names {
    /// The name of this server's node.
    pub node: String,
    /// The node's addresses.
    pub addresses: Vec<IpAddr>,
    /// The addresses of the Service `kubernetes`.
    pub service: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// What `--tls-san` adds: host names and addresses.
    pub extra: Vec<String>,
}

impl Names {
    fn apiserver(&self) -> BTreeSet<SubjectAltName> {
        let domain = &self.cluster_domain;
        let own = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", &self.node];
        own.into_iter()
            .map(SubjectAltName::from)
            .chain([SubjectAltName::Dns(format!("kubernetes.default.svc.{domain}"))])
            .chain(self.extra.iter().map(|extra| extra.as_str().into()))
            .chain(self.addresses.iter().chain(&self.service).copied().chain(loopback()).map(SubjectAltName::Ip))
            .collect()
    }

    fn kubelet(&self) -> BTreeSet<SubjectAltName> {
        let own = [self.node.as_str(), "localhost"].into_iter().map(SubjectAltName::from);
        own.chain(self.addresses.iter().copied().chain(loopback()).map(SubjectAltName::Ip)).collect()
    }
}

fn loopback() -> [IpAddr; 2] {
    [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()]
}

/// The authorities, certificates and keys of a server.
///
/// Users and groups: the administrator is `kubernetes-admin` in `system:masters`; a node is `system:node:NAME` in
/// `system:nodes`; the data plane is `knarr:dataplane:NAME` in `knarr:dataplanes`.
#[derive(Debug)]
pub struct ClusterPki {
    /// Signs servers and clients of the cluster.
    pub ca: Authority,
    /// Signs the client certificate with which the API server calls extension API servers.
    pub front_proxy_ca: Authority,
    /// Signs service account tokens.
    pub tokens: TokenKeys,
    /// What the API server's listener presents.
    pub apiserver: Arc<Rotating>,
    /// What the API server presents to kubelets.
    pub apiserver_kubelet_client: Arc<Rotating>,
    /// What the API server presents to extension API servers.
    pub front_proxy_client: Arc<Rotating>,
    /// The administrator's.
    pub admin: Arc<Rotating>,
    /// What this node's kubelet presents on its HTTPS port.
    pub kubelet: Arc<Rotating>,
    /// What this node's agent presents to the API server.
    pub kubelet_client: Arc<Rotating>,
    /// What this node's data plane presents to the API server.
    pub dataplane: Arc<Rotating>,
}

/// Groups of the clients that this crate issues certificates for.
pub mod groups {
    /// May do everything.
    pub const MASTERS: &str = "system:masters";
    /// Nodes.
    pub const NODES: &str = "system:nodes";
    /// knarr's data planes: cluster DNS.
    pub const DATAPLANES: &str = "knarr:dataplanes";
}

impl ClusterPki {
    /// Reads what is in `directory`, makes what is missing, and re-issues certificates that are due or whose names
    /// changed.
    ///
    /// # Errors
    /// When files cannot be read or written, or an authority or key there cannot be used.
    pub fn open(directory: &Path, names: &Names) -> Result<Self, Error> {
        Self::open_at(directory, names, validity::now())
    }

    fn open_at(directory: &Path, names: &Names, now: u64) -> Result<Self, Error> {
        disk::create_directory(directory)?;
        let ca = Authority::open(directory, "ca", "kubernetes")?;
        let front_proxy_ca = Authority::open(directory, "front-proxy-ca", "front-proxy-ca")?;
        let leaf =
            |name, profile, authority: &Authority| Rotating::open(directory.into(), name, profile, authority, now);
        let (node, client) = (&names.node, Profile::client);
        let node_user = format!("system:node:{node}");
        Ok(Self {
            tokens: TokenKeys::open(directory)?,
            apiserver: leaf("apiserver", Profile::server("kube-apiserver", names.apiserver()), &ca)?,
            apiserver_kubelet_client: leaf(
                "apiserver-kubelet-client",
                client("kube-apiserver-kubelet-client".into(), Some(groups::MASTERS)),
                &ca,
            )?,
            front_proxy_client: leaf("front-proxy-client", client("front-proxy-client".into(), None), &front_proxy_ca)?,
            admin: leaf("admin", client("kubernetes-admin".into(), Some(groups::MASTERS)), &ca)?,
            kubelet: leaf("kubelet", Profile::server(node_user.as_str(), names.kubelet()), &ca)?,
            kubelet_client: leaf("kubelet-client", client(node_user, Some(groups::NODES)), &ca)?,
            dataplane: leaf("dataplane", client(format!("knarr:dataplane:{node}"), Some(groups::DATAPLANES)), &ca)?,
            ca,
            front_proxy_ca,
        })
    }

    /// Renews certificates until the drain starts. A renewal that fails is tried again at the next look: certificates
    /// are replaced after two thirds of their life, which leaves months to mend a full disk.
    ///
    /// # Errors
    /// Never.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> Result<(), Infallible> {
        while shutdown.or(tokio::time::sleep(CHECK_EVERY)).await.is_some() {
            self.renew(validity::now());
        }
        Ok(())
    }

    fn renew(&self, now: u64) {
        for (leaf, authority) in self.leaves() {
            if let Err(error) = leaf.renew(authority, now) {
                tracing::error!("cannot renew {}.crt: {error}", leaf.path().display());
            }
        }
    }

    fn leaves(&self) -> [(&Rotating, &Authority); 7] {
        [
            (&self.apiserver, &self.ca),
            (&self.apiserver_kubelet_client, &self.ca),
            (&self.front_proxy_client, &self.front_proxy_ca),
            (&self.admin, &self.ca),
            (&self.kubelet, &self.ca),
            (&self.kubelet_client, &self.ca),
            (&self.dataplane, &self.ca),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names() -> Names {
        Names {
            node: "edge-1".into(),
            addresses: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            service: vec!["10.43.0.1".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            extra: vec!["api.example.org".into(), "192.0.2.99".into()],
        }
    }

    #[test]
    fn a_restart_reuses_everything() {
        let directory = tempfile::tempdir().unwrap();
        let first = ClusterPki::open(directory.path(), &names()).unwrap();
        let second = ClusterPki::open(directory.path(), &names()).unwrap();
        assert_eq!(first.ca.certificate_pem(), second.ca.certificate_pem());
        for ((a, _), (b, _)) in first.leaves().into_iter().zip(second.leaves()) {
            assert_eq!(a.current().certificate_pem(), b.current().certificate_pem(), "{}", a.path().display());
        }
        let token = first.tokens.sign(&serde_json::json!({"sub": "a"})).unwrap();
        assert_eq!(second.tokens.verify::<serde_json::Value>(&token).unwrap()["sub"], "a");
    }

    #[test]
    fn other_names_mean_another_certificate_and_only_that() {
        let directory = tempfile::tempdir().unwrap();
        let first = ClusterPki::open(directory.path(), &names()).unwrap();
        let more = Names { extra: vec!["other.example.org".into()], ..names() };
        let second = ClusterPki::open(directory.path(), &more).unwrap();
        assert_ne!(first.apiserver.current().certificate_pem(), second.apiserver.current().certificate_pem());
        assert_eq!(first.kubelet.current().certificate_pem(), second.kubelet.current().certificate_pem());
    }

    #[test]
    fn a_torn_pair_is_replaced_but_an_authority_never() {
        let directory = tempfile::tempdir().unwrap();
        ClusterPki::open(directory.path(), &names()).unwrap();
        let path = |name| directory.path().join(name);
        fs::copy(path("kubelet.key"), path("apiserver.key")).unwrap();
        fs::write(path("admin.crt"), "not a certificate").unwrap();
        ClusterPki::open(directory.path(), &names()).unwrap();
        fs::remove_file(path("ca.key")).unwrap();
        let error = ClusterPki::open(directory.path(), &names()).unwrap_err().to_string();
        assert!(error.ends_with("ca.key: is missing, but its certificate exists"), "{error}");
        fs::copy(path("sa.key"), path("ca.key")).unwrap();
        let error = ClusterPki::open(directory.path(), &names()).unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("does not belong to its key"), "{error}");
    }

    #[test]
    fn a_clock_that_is_set_while_running_renews_everything_once() {
        let directory = tempfile::tempdir().unwrap();
        let pki = ClusterPki::open_at(directory.path(), &names(), 1000).unwrap();
        let mut follower = pki.admin.subscribe();
        follower.mark_unchanged();
        pki.renew(2000);
        assert!(!follower.has_changed().unwrap());
        let now = validity::RELEASED + 1_000_000;
        pki.renew(now);
        assert!(follower.has_changed().unwrap());
        for (leaf, authority) in pki.leaves() {
            assert!(leaf.current().window().contains(now));
            assert!(!leaf.renew(authority, now).unwrap());
        }
    }

    #[test]
    fn the_serving_certificate_has_upstreams_names() {
        let names: Vec<_> = names().apiserver().into_iter().collect();
        let dns = |name: &str| SubjectAltName::Dns(name.into());
        for expected in [
            dns("kubernetes"),
            dns("kubernetes.default"),
            dns("kubernetes.default.svc"),
            dns("kubernetes.default.svc.cluster.local"),
            dns("localhost"),
            dns("edge-1"),
            dns("api.example.org"),
            "192.0.2.99".into(),
            "192.0.2.10".into(),
            "2001:db8::10".into(),
            "10.43.0.1".into(),
            "127.0.0.1".into(),
        ] {
            assert!(names.contains(&expected), "{expected:?}");
        }
    }
}
