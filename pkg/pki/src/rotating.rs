//! Certificates that are replaced while the process runs.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::{Authority, Error, Leaf, Profile};

/// A leaf certificate of a fixed profile, kept in a pair of files. rustls asks it for the present certificate at each
/// handshake, so that a renewal reaches new connections at once and old ones never.
#[derive(Debug)]
pub struct Rotating {
    directory: PathBuf,
    name: &'static str,
    profile: Profile,
    current: watch::Sender<Arc<Leaf>>,
}

impl Rotating {
    /// Reads `NAME.crt` and `NAME.key` from `directory`; issues a new pair when they are missing, due, of another
    /// authority or for other names.
    pub(crate) fn open(
        directory: PathBuf,
        name: &'static str,
        profile: Profile,
        authority: &Authority,
        now: u64,
    ) -> Result<Arc<Self>, Error> {
        let present = Leaf::read(&directory, name)?;
        let leaf = match present.filter(|leaf| leaf.unfit(&profile, authority, now).is_none()) {
            Some(leaf) => leaf,
            None => {
                let leaf = authority.issue_at(&profile, now)?;
                leaf.write(&directory, name)?;
                leaf
            }
        };
        Ok(Arc::new(Self { directory, name, profile, current: watch::Sender::new(Arc::new(leaf)) }))
    }

    /// The present certificate.
    #[must_use]
    pub fn current(&self) -> Arc<Leaf> {
        Arc::clone(&self.current.borrow())
    }

    /// Follows the certificate, for what must be rewritten at a renewal, such as a kubeconfig.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Leaf>> {
        self.current.subscribe()
    }

    /// What it says.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The files, without their endings.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// Replaces the certificate when it is time, and says whether it did.
    pub(crate) fn renew(&self, authority: &Authority, now: u64) -> Result<bool, Error> {
        let Some(why) = self.current().unfit(&self.profile, authority, now) else { return Ok(false) };
        let leaf = authority.issue_at(&self.profile, now)?;
        leaf.write(&self.directory, self.name)?;
        tracing::info!(certificate = self.name, "renewed a certificate, since it {why}");
        self.current.send_replace(Arc::new(leaf));
        Ok(true)
    }
}

impl ResolvesServerCert for Rotating {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.borrow().certified_key())
    }
}

impl ResolvesClientCert for Rotating {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.borrow().certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
