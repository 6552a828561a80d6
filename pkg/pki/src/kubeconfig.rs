//! Kubeconfig files: <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::disk::{self, Access};
use crate::{Authority, Error, Leaf};

/// One cluster, one user, everything embedded.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// For example `https://127.0.0.1:6443`.
    pub server: &'a str,
    /// The name of the cluster.
    pub cluster: &'a str,
    /// The name of the user; only a label.
    pub user: &'a str,
    /// Who signed the server's certificate.
    pub authority: &'a Authority,
    /// The user's certificate and key.
    pub client: &'a Leaf,
}

impl Kubeconfig<'_> {
    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let context = quoted(&format!("{}@{}", self.user, self.cluster));
        let (server, cluster, user) = (quoted(self.server), quoted(self.cluster), quoted(self.user));
        let authority = BASE64_STANDARD.encode(self.authority.certificate_pem());
        let certificate = BASE64_STANDARD.encode(self.client.certificate_pem());
        let key = BASE64_STANDARD.encode(self.client.key_pem());
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {cluster}\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
             users:\n\
             - name: {user}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
             contexts:\n\
             - name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n\
             current-context: {context}\n"
        )
    }

    /// Writes the file whole, readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        disk::write(path, &self.render(), Access::Private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    #[test]
    fn everything_is_embedded() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let client = authority.issue(&Profile::client("kubernetes-admin", Some("system:masters"))).unwrap();
        let config = Kubeconfig {
            server: "https://127.0.0.1:6443",
            cluster: "knarr",
            user: "kubernetes-admin",
            authority: &authority,
            client: &client,
        };
        let text = config.render();
        let value = |key: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
            line.split_once(": ").unwrap().1.to_owned()
        };
        assert_eq!(value("server"), "\"https://127.0.0.1:6443\"");
        assert_eq!(value("current-context"), "\"kubernetes-admin@knarr\"");
        let data = BASE64_STANDARD.decode(value("client-key-data")).unwrap();
        assert_eq!(data, client.key_pem().as_bytes());
    }
}
