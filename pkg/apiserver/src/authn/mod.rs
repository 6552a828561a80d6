//! Authentication: who sends a request.

mod chain;
pub mod discovery;
mod impersonation;
pub mod service_account;
mod x509;

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use knarr_api::status::Result;
use knarr_api::user::UserInfo;
use rustls::pki_types::CertificateDer;

pub use chain::{ClusterAuthenticator, anonymous};
pub use impersonation::impersonate;

/// The certificates that the peer of a TLS connection has proven to hold the key of, leaf first. A request extension that
/// the listener sets; the chain has been verified against the client CA.
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Finds out who sends a request.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The user; `None` when the request carries no credentials that this authenticator knows.
    ///
    /// # Errors
    /// When there are credentials and they are wrong.
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>>;
}

/// Namespace and name of the service account that a user name is.
#[must_use]
pub fn service_account_of(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_label = |text: &str| !text.is_empty() && !text.contains([':', '/', '%']);
    (is_label(namespace) && is_label(name)).then_some((namespace, name))
}
