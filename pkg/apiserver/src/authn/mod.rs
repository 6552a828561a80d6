//! Authentication: who sends a request.

mod chain;
pub mod discovery;
mod impersonation;
pub mod service_account;
mod x509;

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use knarr_api::status;
use knarr_api::user::UserInfo;
use rustls::pki_types::CertificateDer;

pub use chain::{ClusterAuthenticator, anonymous};
pub use impersonation::impersonate;

/// The certificate that the peer of a TLS connection has proven to hold the key of, or why it is none of the client CA's. A
/// request extension that the listener sets.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Arc<Result<CertificateDer<'static>, String>>);

/// Finds out who sends a request.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The user; `None` when the request carries no credentials that this authenticator knows.
    ///
    /// # Errors
    /// When there are credentials and they are wrong.
    async fn authenticate(&self, request: &Parts) -> status::Result<Option<UserInfo>>;
}

/// Namespace and name of the service account that a user name is.
#[must_use]
pub fn service_account_of(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_label = |text: &str| !text.is_empty() && !text.contains([':', '/', '%']);
    (is_label(namespace) && is_label(name)).then_some((namespace, name))
}
