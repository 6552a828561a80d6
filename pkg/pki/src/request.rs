//! PKCS#10 certificate signing requests, as `certificates.k8s.io/v1 CertificateSigningRequest` carries them.

use std::net::IpAddr;

use rcgen::CertificateSigningRequestParams;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::{Error, leaf};

/// A request whose signature proves that the sender holds the key.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    der: CertificateSigningRequestDer<'static>,
    /// The subject's CN.
    pub common_name: String,
    /// The subject's O, all of them.
    pub organizations: Vec<String>,
    /// Host names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
}

impl SigningRequest {
    /// Parses and verifies a request, as PEM.
    ///
    /// # Errors
    /// When it is malformed, its signature is wrong, or it asks for something that cannot be signed.
    pub fn parse(pem: &str) -> Result<Self, Error> {
        let malformed = |what: &dyn std::fmt::Display| Error::Malformed(what.to_string());
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|error| malformed(&error))?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|error| malformed(&error))?;
        parsed.verify_signature().map_err(|_| malformed(&"the signature does not belong to the key"))?;
        let subject = &parsed.certification_request_info.subject;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().map(str::to_owned);
        let common_name = subject.iter_common_name().next().map(text).transpose().map_err(|error| malformed(&error))?;
        let organizations =
            subject.iter_organization().map(text).collect::<Result<_, _>>().map_err(|error| malformed(&error))?;
        let mut request = Self {
            common_name: common_name.unwrap_or_default(),
            organizations,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            der: der.clone(),
        };
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().try_for_each(|name| request.add(name))?;
            }
        }
        Ok(request)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), Error> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).into()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).into()),
            GeneralName::URI(name) => self.uris.push((*name).into()),
            GeneralName::IPAddress(octets) => {
                self.ip_addresses.push(leaf::address(octets).map_err(Error::Malformed)?);
            }
            other => return Err(Error::Malformed(format!("unsupported name {other}"))),
        }
        Ok(())
    }

    /// What rcgen needs to sign it. rcgen keeps one value per subject attribute, so that a request whose group would
    /// silently be lost is refused instead.
    pub(crate) fn params(&self) -> Result<CertificateSigningRequestParams, Error> {
        if self.organizations.len() > 1 {
            return Err(Error::Malformed("a subject with more than one organization cannot be signed".into()));
        }
        Ok(CertificateSigningRequestParams::from_der(&self.der)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, IsCa, KeyPair};

    use super::*;
    use crate::{Authority, Usage};

    fn request(user: &str, group: &str) -> String {
        let mut params = CertificateParams::new(vec!["edge-2".to_owned(), "192.0.2.2".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    #[test]
    fn a_signed_request_keeps_its_subject_and_never_becomes_an_authority() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let request = SigningRequest::parse(&request("system:node:edge-2", "system:nodes")).unwrap();
        assert_eq!(
            (request.common_name.as_str(), request.organizations.as_slice()),
            ("system:node:edge-2", &["system:nodes".to_owned()][..])
        );
        assert_eq!((request.dns_names.as_slice(), request.ip_addresses.len()), (&["edge-2".to_owned()][..], 1));
        let pem = authority.sign(&request, &[Usage::Client], Duration::from_secs(3600)).unwrap();
        let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let certificate = leaf::parse(&der).unwrap();
        assert!(authority.signed(&certificate) && !certificate.is_ca());
        assert_eq!(certificate.subject().to_string(), "CN=system:node:edge-2, O=system:nodes");
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
    }

    #[test]
    fn malformed_requests_are_refused() {
        let good = request("a", "b");
        let cut: String =
            good.lines().take(3).chain(["-----END CERTIFICATE REQUEST-----"]).collect::<Vec<_>>().join("\n");
        for bad in ["", "x", &cut, &good.replace("CERTIFICATE REQUEST", "CERTIFICATE")] {
            assert!(SigningRequest::parse(bad).is_err(), "{bad}");
        }
    }
}
