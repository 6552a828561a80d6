//! Certificate authorities.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rand::RngCore;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::X509Certificate;

use crate::disk::{self, Access};
use crate::leaf::{self, Leaf, Profile, SubjectAltName, Usage};
use crate::validity::{self, Window};
use crate::{Error, SigningRequest};

/// A self-signed certificate and the key that signs others.
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    window: Window,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads `NAME.crt` and `NAME.key` from `directory`, or makes both there. An authority that exists is never
    /// replaced: everything that trusts it would be lost.
    ///
    /// # Errors
    /// When a file cannot be read or written, or when what is there is not a usable authority.
    pub fn open(directory: &Path, name: &str, common_name: &str) -> Result<Self, Error> {
        let (certificate_path, key_path) =
            (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        let unusable = |path: &Path, what: String| Error::Unusable { path: path.into(), what };
        let key = match disk::read(&key_path)? {
            Some(pem) => Some(KeyPair::from_pem(&pem).map_err(|error| unusable(&key_path, error.to_string()))?),
            None => None,
        };
        match (disk::read(&certificate_path)?, key) {
            (Some(pem), Some(key)) => {
                Self::load(pem, key).map_err(|error| unusable(&certificate_path, error.to_string()))
            }
            (Some(_), None) => Err(unusable(&key_path, "is missing, but its certificate exists".into())),
            // A key alone is what a crash between the two writes leaves.
            (None, key) => {
                let key = match key {
                    Some(key) => key,
                    None => {
                        let key = KeyPair::generate()?;
                        disk::write(&key_path, &key.serialize_pem(), Access::Private)?;
                        key
                    }
                };
                let pem = self_signed(common_name, &key, validity::now())?;
                disk::write(&certificate_path, &pem, Access::Public)?;
                Self::load(pem, key)
            }
        }
    }

    fn load(certificate_pem: String, key: KeyPair) -> Result<Self, Error> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| Error::Malformed(error.to_string()))?;
        let parsed = leaf::parse(&certificate)?;
        if !parsed.is_ca() {
            return Err(Error::Malformed("is not a certificate authority".into()));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(Error::Malformed("does not belong to its key".into()));
        }
        let window = leaf::window(&parsed);
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate_pem, certificate, window, issuer })
    }

    /// The certificate, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Issues a certificate with a new key, valid for a year.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue(&self, profile: &Profile) -> Result<Leaf, Error> {
        self.issue_at(profile, validity::now())
    }

    pub(crate) fn issue_at(&self, profile: &Profile, now: u64) -> Result<Leaf, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(&profile.common_name, Window::leaf(now).within(self.window));
        if let Some(organization) = &profile.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match profile.usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        for name in &profile.names {
            params.subject_alt_names.push(match name {
                SubjectAltName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                SubjectAltName::Ip(address) => SanType::IpAddress(*address),
            });
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        Leaf::new(certificate.pem(), key.serialize_pem())
    }

    /// Signs somebody's request for `duration` (never longer than the authority itself lasts), with exactly the usages
    /// given: what the request asks for is the caller's to check. Returns the certificate as PEM.
    ///
    /// # Errors
    /// When the request cannot be expressed as a certificate.
    pub fn sign(&self, request: &SigningRequest, usages: &[Usage], duration: Duration) -> Result<String, Error> {
        let window = Window::lasting(validity::now(), duration).within(self.window);
        let mut wanted = request.params()?;
        wanted.params.is_ca = IsCa::NoCa;
        wanted.params.serial_number = Some(serial_number());
        set_dates(&mut wanted.params, window);
        wanted.params.use_authority_key_identifier_extension = true;
        wanted.params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        wanted.params.extended_key_usages = usages
            .iter()
            .map(|usage| match usage {
                Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
                Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            })
            .collect();
        Ok(wanted.signed_by(&self.issuer)?.pem())
    }

    /// Whether this authority's key made the certificate's signature.
    pub(crate) fn signed(&self, certificate: &X509Certificate<'_>) -> bool {
        leaf::parse(&self.certificate).is_ok_and(|own| certificate.verify_signature(Some(own.public_key())).is_ok())
    }
}

fn self_signed(common_name: &str, key: &KeyPair, now: u64) -> Result<String, Error> {
    let mut params = params(common_name, Window::authority(now));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::DnsName(common_name.try_into()?)];
    Ok(params.self_signed(key)?.pem())
}

fn params(common_name: &str, window: Window) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial_number());
    set_dates(&mut params, window);
    params
}

/// 16 random bytes, positive and never zero (RFC 5280, 4.1.2.2).
fn serial_number() -> SerialNumber {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}

fn set_dates(params: &mut CertificateParams, window: Window) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(window.not_before);
    params.not_after = epoch + Duration::from_secs(window.not_after);
}
