//! End-entity certificates: what is asked for ([`Profile`]) and what was issued ([`Leaf`]).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::disk::{self, Access};
pub use crate::validity::Window;
use crate::{Authority, Error};

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To prove who a client is.
    Client,
    /// To prove who a server is.
    Server,
}

/// A name by which clients reach a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectAltName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl From<&str> for SubjectAltName {
    /// An address where the text is one, otherwise a host name.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Dns(text.into()), Self::Ip)
    }
}

/// What a leaf certificate says, apart from its key and its dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The subject's CN: the user name of a client.
    pub common_name: String,
    /// The subject's O: the group of a client.
    pub organization: Option<String>,
    /// The names of a server.
    pub names: BTreeSet<SubjectAltName>,
    /// What it is for.
    pub usage: Usage,
}

impl Profile {
    /// A client called `user`, in `group`.
    #[must_use]
    pub fn client(user: impl Into<String>, group: Option<&str>) -> Self {
        Self {
            common_name: user.into(),
            organization: group.map(Into::into),
            names: BTreeSet::new(),
            usage: Usage::Client,
        }
    }

    /// A server that is reached by `names`.
    pub fn server(common_name: impl Into<String>, names: impl IntoIterator<Item = SubjectAltName>) -> Self {
        Self {
            common_name: common_name.into(),
            organization: None,
            names: names.into_iter().collect(),
            usage: Usage::Server,
        }
    }

    fn of(certificate: &X509Certificate<'_>) -> Result<Self, String> {
        let subject = certificate.subject();
        let text = |attribute: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            attribute.and_then(|attribute| attribute.as_str().ok()).map(str::to_owned)
        };
        let extended = certificate.extended_key_usage().map_err(|error| error.to_string())?;
        let usage = match extended {
            Some(extended) if extended.value.server_auth => Usage::Server,
            Some(extended) if extended.value.client_auth => Usage::Client,
            _ => return Err("has no usage of ours".into()),
        };
        Ok(Self {
            common_name: text(subject.iter_common_name().next()).unwrap_or_default(),
            organization: text(subject.iter_organization().next()),
            names: subject_alt_names(certificate)?,
            usage,
        })
    }
}

fn subject_alt_names(certificate: &X509Certificate<'_>) -> Result<BTreeSet<SubjectAltName>, String> {
    let extension = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => Ok(SubjectAltName::Dns((*name).into())),
            GeneralName::IPAddress(octets) => address(octets).map(SubjectAltName::Ip),
            other => Err(format!("has an unexpected name {other}")),
        })
        .collect()
}

pub(crate) fn address(octets: &[u8]) -> Result<IpAddr, String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Ok(octets.into());
    }
    <[u8; 16]>::try_from(octets).map(Into::into).map_err(|_| "has an address of a wrong length".into())
}

/// An issued certificate with its private key.
#[derive(Clone)]
pub struct Leaf {
    certificate_pem: String,
    key_pem: String,
    window: Window,
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Leaf").field("window", &self.window).finish_non_exhaustive()
    }
}

impl Leaf {
    pub(crate) fn new(certificate_pem: String, key_pem: String) -> Result<Self, Error> {
        let malformed = |error: rustls::pki_types::pem::Error| Error::Malformed(error.to_string());
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect::<Result<_, _>>().map_err(malformed)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(malformed)?;
        let first = chain.first().ok_or_else(|| Error::Malformed("no certificate".into()))?;
        let window = window(&parse(first)?);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider)?);
        Ok(Self { certificate_pem, key_pem, window, certified })
    }

    /// The certificate, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, as PEM. Keep it out of logs.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When it holds.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// What rustls presents.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Why this leaf cannot serve as `profile` any longer; `None` when it can.
    pub(crate) fn unfit(&self, profile: &Profile, authority: &Authority, now: u64) -> Option<String> {
        let certificate = self.certified.cert.first().map(|der| parse(der));
        let certificate = match certificate {
            Some(Ok(certificate)) => certificate,
            Some(Err(error)) => return Some(error.to_string()),
            None => return Some("is empty".into()),
        };
        if self.window.due(now) {
            return Some("is due for renewal".into());
        }
        if !authority.signed(&certificate) {
            return Some("was not signed by the present authority".into());
        }
        match Profile::of(&certificate) {
            Ok(present) if present == *profile => None,
            Ok(_) => Some("is for other names".into()),
            Err(what) => Some(what),
        }
    }

    /// Reads `NAME.crt` and `NAME.key`; `None` when one of them is missing or both do not belong together, as after a
    /// crash between the two writes.
    pub(crate) fn read(directory: &Path, name: &str) -> Result<Option<Self>, Error> {
        let certificate = disk::read(&directory.join(format!("{name}.crt")))?;
        let key = disk::read(&directory.join(format!("{name}.key")))?;
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
        match Self::new(certificate, key) {
            Ok(leaf) => Ok(Some(leaf)),
            Err(error) => {
                tracing::warn!("replacing {}/{name}.crt: {error}", directory.display());
                Ok(None)
            }
        }
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> Result<(), Error> {
        disk::write(&directory.join(format!("{name}.key")), &self.key_pem, Access::Private)?;
        disk::write(&directory.join(format!("{name}.crt")), &self.certificate_pem, Access::Public)
    }
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    let parsed = x509_parser::parse_x509_certificate(der);
    parsed.map(|(_, certificate)| certificate).map_err(|error| Error::Malformed(error.to_string()))
}

pub(crate) fn window(certificate: &X509Certificate<'_>) -> Window {
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Window {
        not_before: seconds(certificate.validity().not_before),
        not_after: seconds(certificate.validity().not_after),
    }
}
