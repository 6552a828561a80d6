//! A client of the API server that hides nothing: raw requests and answers over HTTP/1.1 and TLS.

mod connection;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use crate::command::output;
use crate::lab::Lab;
pub use connection::{Answer, Connection};
pub use watch::Watch;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Who talks to which API server. Cloning shares the TLS configuration.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    token: Option<String>,
}

impl Api {
    /// As the administrator, with the lab's kubeconfig.
    ///
    /// # Errors
    /// When the kubeconfig is not there or not of the usual form.
    pub fn admin(lab: &Lab) -> Result<Self> {
        Self::new(lab, true, None)
    }

    /// With a bearer token and without a client certificate.
    ///
    /// # Errors
    /// As [`Api::admin`].
    pub fn with_token(lab: &Lab, token: &str) -> Result<Self> {
        Self::new(lab, false, Some(token.to_owned()))
    }

    /// Without any credentials.
    ///
    /// # Errors
    /// As [`Api::admin`].
    pub fn anonymous(lab: &Lab) -> Result<Self> {
        Self::new(lab, false, None)
    }

    fn new(lab: &Lab, certificate: bool, token: Option<String>) -> Result<Self> {
        let text = output(lab.kubectl().args(["config", "view", "--raw", "--output=json"]))?;
        let config: Value = serde_json::from_str(&text)?;
        let field = |path: &str| {
            config.pointer(path).and_then(Value::as_str).with_context(|| format!("the kubeconfig has no {path}"))
        };
        let pem = |path: &str| Ok::<_, anyhow::Error>(STANDARD.decode(field(path)?)?);
        let server = field("/clusters/0/cluster/server")?;
        let address: SocketAddr = server.strip_prefix("https://").context("the server is no https URL")?.parse()?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pem("/clusters/0/cluster/certificate-authority-data")?) {
            roots.add(root?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let tls = if certificate {
            let chain = pem("/users/0/user/client-certificate-data")?;
            let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(&pem("/users/0/user/client-key-data")?)?;
            builder.with_client_auth_cert(chain, key)?
        } else {
            builder.with_no_client_auth()
        };
        let name = ServerName::IpAddress(address.ip().into());
        Ok(Self { address, name, tls: Arc::new(tls), token })
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn connect(&self) -> Result<Connection> {
        Connection::new(self.address, self.name.clone(), self.tls.clone(), self.token.clone())
    }

    /// One request over a connection of its own.
    ///
    /// # Errors
    /// When there is no whole answer; any status is an answer.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        self.connect()?.request(method, path, headers, body)
    }

    /// Reads an object or a list; anything but a 200 is an error.
    ///
    /// # Errors
    /// As said.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.request("GET", path, &[], b"")?;
        if answer.status != 200 {
            bail!("GET {path}: {answer}");
        }
        answer.json()
    }

    /// Creates an object from JSON.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn post(&self, path: &str, object: &Value) -> Result<Answer> {
        self.request("POST", path, &[("Content-Type", "application/json")], object.to_string().as_bytes())
    }

    /// Starts a watch; `path` carries its query.
    ///
    /// # Errors
    /// When the server does not answer with a stream.
    pub fn watch(&self, path: &str) -> Result<Watch> {
        Watch::new(self.connect()?, path)
    }
}
