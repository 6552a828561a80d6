//! How etcd is reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use super::keys::Keys;
use crate::error::Error;
use crate::limits::MAX_PREFIX;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// A connection on which nothing is heard is asked for a sign of life after the first time, and given up after the second
/// one more. etcd takes more than one question in five seconds for abuse.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Which etcd, and where in it. The fields are named as kube-apiserver's flags.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// URLs of the servers, the preferred one first: the others are asked when it fails.
    pub servers: Vec<String>,
    /// Certificates that the servers' certificates are signed by, as PEM; `https` needs it.
    pub ca_file: Option<PathBuf>,
    /// The certificate shown to the servers, as PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, as PEM.
    pub key_file: Option<PathBuf>,
    /// What all keys in etcd begin with.
    pub prefix: String,
    /// What the prefix stands for: all keys of the store begin with it. A store holds no others.
    pub root: String,
}

impl EtcdOptions {
    /// Refuses what cannot work, before anything is tried.
    pub(super) fn check(&self) -> Result<Keys, Error> {
        let secure = |server: &String| server.starts_with("https://");
        if self.servers.is_empty() {
            return Err(Error::Open("no etcd server is named".to_owned()));
        }
        if let Some(server) = self.servers.iter().find(|server| !secure(server) && !server.starts_with("http://")) {
            return Err(Error::Open(format!("etcd server {server}: not an http:// or https:// URL")));
        }
        if self.servers.iter().any(secure) && self.ca_file.is_none() {
            return Err(Error::Open(
                "etcd servers with https:// need a file with their certificate authority".to_owned(),
            ));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(Error::Open(
                "a client certificate for etcd needs its key, and the key its certificate".to_owned(),
            ));
        }
        // As upstream, with a slash on both sides, so that no prefix is the beginning of another.
        let prefix = match self.prefix.trim_matches('/') {
            "" => "/".to_owned(),
            middle => format!("/{middle}/"),
        };
        if prefix.len() > MAX_PREFIX {
            return Err(Error::Open(format!("etcd prefix {prefix} is longer than {MAX_PREFIX} bytes")));
        }
        Ok(Keys::new(self.root.as_bytes(), prefix.as_bytes()))
    }

    /// What a new connection uses. The files are read each time, so that renewed certificates are used.
    pub(super) async fn connection(&self, server: &str) -> Result<ConnectOptions, Error> {
        let (interval, timeout) = KEEP_ALIVE;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(interval, timeout)
            .with_keep_alive_while_idle(false)
            // A server that has lost the others says so at once, instead of when its patience ends.
            .with_require_leader(true);
        if server.starts_with("https://") {
            let mut tls = TlsOptions::new();
            if let Some(file) = &self.ca_file {
                tls = tls.ca_certificate(Certificate::from_pem(read(file).await?));
            }
            if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
                tls = tls.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
            }
            options = options.with_tls(tls);
        }
        Ok(options)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(file).await.map_err(|error| Error::Open(format!("cannot read {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        let file = || Some(PathBuf::from("/file"));
        let options = |servers: &[&str]| EtcdOptions {
            servers: servers.iter().map(|&server| server.to_owned()).collect(),
            ..EtcdOptions::default()
        };
        for (options, expected) in [
            (options(&[]), "no etcd server is named"),
            (options(&["10.0.0.1:2379"]), "etcd server 10.0.0.1:2379: not an http:// or https:// URL"),
            (options(&["https://e:2379"]), "etcd servers with https:// need a file with their certificate authority"),
            (
                EtcdOptions { cert_file: file(), ..options(&["http://e:2379"]) },
                "a client certificate for etcd needs its key, and the key its certificate",
            ),
            (
                EtcdOptions { prefix: "x".repeat(63), ..options(&["http://e:2379"]) },
                &format!("etcd prefix /{}/ is longer than 64 bytes", "x".repeat(63)),
            ),
        ] {
            assert_eq!(options.check().unwrap_err().to_string(), expected);
        }
        let sound = EtcdOptions { ca_file: file(), ..options(&["https://a:2379", "https://b:2379"]) };
        for (prefix, mark) in [("", "/"), ("/registry", "/registry/"), ("a/b/", "/a/b/")] {
            let options = EtcdOptions { prefix: prefix.to_owned(), ..sound.clone() };
            assert_eq!(options.check().unwrap().mark(), mark.as_bytes());
        }
    }
}
