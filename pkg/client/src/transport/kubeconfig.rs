//! Clients over TLS, described by a kubeconfig file.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::uri::Uri;
use serde::Deserialize;

use super::tls;

/// Why a kubeconfig gives no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not YAML of the right shape.
    #[error("{path}: {reason}")]
    Malformed {
        /// The kubeconfig.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates or keys are not usable.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// A certificate or key is not PEM.
    #[error("{0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

/// A client for the current context of the kubeconfig at `path`. Certificates and keys are read again for every new
/// connection, so a rotated file is picked up without a restart; the server's address is read once.
///
/// Client certificates and bearer tokens are understood; nothing else is needed by knarr's own processes.
///
/// # Errors
/// When the file, or what it refers to, is missing or malformed.
pub fn kubeconfig(path: impl Into<PathBuf>) -> Result<kube::Client, Error> {
    let path = path.into();
    let access = Access::read(&path)?;
    access.tls()?;
    Ok(tls::client(access.server.clone(), access.token.clone(), move || Access::read(&path)?.tls()))
}

/// What a kubeconfig says about its current context.
#[derive(Debug)]
pub(super) struct Access {
    server: Uri,
    authority: Vec<u8>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    token: Option<String>,
    path: PathBuf,
}

impl Access {
    fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
        let file: File = serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let current = &file.current_context;
        let context = file.contexts.into_iter().find(|context| context.name == *current);
        let context = context.ok_or_else(|| malformed(format!("there is no context {current:?}")))?.context;
        let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
        let cluster = cluster.ok_or_else(|| malformed(format!("there is no cluster {:?}", context.cluster)))?.cluster;
        let user = file.users.into_iter().find(|user| user.name == context.user);
        let user = user.ok_or_else(|| malformed(format!("there is no user {:?}", context.user)))?.user;
        let authority = material(path, cluster.certificate_authority_data, cluster.certificate_authority)?;
        Ok(Self {
            server: cluster.server.parse().map_err(|error| malformed(format!("server: {error}")))?,
            authority: authority.ok_or_else(|| malformed("the cluster has no certificate-authority".to_owned()))?,
            certificate: material(path, user.client_certificate_data, user.client_certificate)?,
            key: material(path, user.client_key_data, user.client_key)?,
            token: user.token,
            path: path.to_owned(),
        })
    }

    fn tls(&self) -> Result<rustls::ClientConfig, Error> {
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((certificate.as_slice(), key.as_slice())),
            (None, None) => None,
            _ => {
                let reason = "client-certificate and client-key must be given together".to_owned();
                return Err(Error::Malformed { path: self.path.clone(), reason });
            }
        };
        tls::config(&self.authority, identity)
    }
}

/// Inline data wins over a file, whose path is relative to the kubeconfig (as in client-go).
fn material(kubeconfig: &Path, data: Option<String>, file: Option<PathBuf>) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = data {
        let decoded = BASE64_STANDARD.decode(data.trim());
        let reason =
            |error: base64::DecodeError| Error::Malformed { path: kubeconfig.into(), reason: error.to_string() };
        return decoded.map(Some).map_err(reason);
    }
    let Some(file) = file else { return Ok(None) };
    let path = kubeconfig.parent().map_or_else(|| file.clone(), |folder| folder.join(&file));
    std::fs::read(&path).map(Some).map_err(|source| Error::Read { path, source })
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: Option<String>,
    certificate_authority: Option<PathBuf>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_certificate: Option<PathBuf>,
    client_key_data: Option<String>,
    client_key: Option<PathBuf>,
    token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(cluster: &str, user: &str) -> Result<Access, Error> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- {{name: c, context: {{cluster: k, user: u}}}}\n\
             clusters:\n- {{name: k, cluster: {{{cluster}}}}}\nusers:\n- {{name: u, user: {{{user}}}}}\n"
        );
        Access::parse(&text, Path::new("/nowhere/admin.conf"))
    }

    #[test]
    fn says_what_is_wrong() {
        let ca = "certificate-authority-data: Y2E=";
        let cases = [
            (String::new(), "", "missing field `server`"),
            ("server: \"https://[::1]:6443\"".to_owned(), "", "no certificate-authority"),
            (format!("server: 'not a uri', {ca}"), "", "server:"),
            ("server: 'https://a', certificate-authority-data: '*'".to_owned(), "", "Invalid symbol"),
            ("server: 'https://a', certificate-authority: ca.crt".to_owned(), "", "/nowhere/ca.crt"),
            (format!("server: 'https://a', {ca}"), "client-key-data: YQ==", "given together"),
        ];
        for (cluster, user, expected) in cases {
            let error = parse(&cluster, user).and_then(|access| access.tls().map(|_| ())).unwrap_err().to_string();
            assert!(error.contains(expected), "{cluster}: {error}");
        }
        let access = parse(&format!("server: 'https://a:1', {ca}"), "token: t").unwrap();
        assert_eq!((access.token.as_deref(), access.authority.as_slice()), (Some("t"), b"ca".as_slice()));
    }
}
