//! rustls configurations that follow renewals.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

use crate::{Authority, Error, Rotating};

/// A server that presents `certificate` and asks clients for one of `clients`. A client may present none: who it is then
/// is for its token to say. HTTP/2 is preferred.
///
/// # Errors
/// When rustls refuses the authority.
pub fn server(certificate: &Arc<Rotating>, clients: &Authority) -> Result<ServerConfig, Error> {
    asking(certificate, verifier(clients)?)
}

/// As [`server`], but who presents another authority's certificate, or an expired one, is let in all the same, to be told in
/// HTTP what an alert of TLS would not tell: the API server's way. What such a certificate is worth, [`Reception::verify`]
/// says.
#[derive(Clone, Debug)]
pub struct Reception {
    /// For the listener.
    pub config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Reception {
    /// # Errors
    /// When rustls refuses the authority.
    pub fn new(certificate: &Arc<Rotating>, clients: &Authority) -> Result<Self, Error> {
        let verifier = verifier(clients)?;
        let config = asking(certificate, Arc::new(Anybody(Arc::clone(&verifier))))?;
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// Whether a client's chain of certificates, its own first, is one of the authority's and holds now.
    ///
    /// # Errors
    /// With the reason when it does not.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (leaf, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(leaf, between, UnixTime::now()).map(drop)
    }
}

fn verifier(clients: &Authority) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(roots(clients)?, provider).allow_unauthenticated();
    builder.build().map_err(|error| Error::Malformed(error.to_string()))
}

fn asking(certificate: &Arc<Rotating>, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificate) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whoever holds the key of the certificate that they present.
#[derive(Debug)]
struct Anybody(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }
}

/// A client that trusts `servers` and presents `certificate`. The caller sets ALPN.
///
/// # Errors
/// When rustls refuses the authority.
pub fn client(certificate: &Arc<Rotating>, servers: &Authority) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(servers)?)
        .with_client_cert_resolver(Arc::clone(certificate) as _))
}

fn roots(authority: &Authority) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::{ClusterPki, Names};

    fn pki(directory: &std::path::Path) -> ClusterPki {
        let names = Names {
            node: "edge-1".into(),
            addresses: vec!["192.0.2.10".parse().unwrap()],
            service: vec!["10.43.0.1".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            extra: Vec::new(),
        };
        ClusterPki::open(directory, &names).unwrap()
    }

    /// Runs a handshake in memory and returns what the server learned about the client.
    fn handshake(server: ServerConfig, client: ClientConfig, name: &str) -> Result<Option<Vec<u8>>, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(server.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec()))
    }

    #[test]
    fn our_own_certificates_satisfy_rustls_by_every_name() {
        let directory = tempfile::tempdir().unwrap();
        let pki = pki(directory.path());
        for name in ["localhost", "kubernetes.default.svc", "edge-1", "10.43.0.1", "192.0.2.10", "127.0.0.1"] {
            let server = server(&pki.apiserver, &pki.ca).unwrap();
            let client = client(&pki.admin, &pki.ca).unwrap();
            let peer = handshake(server, client, name).unwrap().unwrap();
            let certificate = crate::leaf::parse(&peer).unwrap();
            assert_eq!(certificate.subject().to_string(), "CN=kubernetes-admin, O=system:masters");
        }
    }

    #[test]
    fn strangers_are_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (pki(ours.path()), pki(theirs.path()));
        let config = || server(&ours.apiserver, &ours.ca).unwrap();
        let foreign_client = client(&theirs.admin, &ours.ca).unwrap();
        assert!(handshake(config(), foreign_client, "localhost").is_err());
        let foreign_server = client(&ours.admin, &theirs.ca).unwrap();
        assert!(handshake(config(), foreign_server, "localhost").is_err());
        let wrong_name = client(&ours.admin, &ours.ca).unwrap();
        assert!(handshake(config(), wrong_name, "example.org").is_err());
        // A serving certificate does not make its holder a client.
        let server_as_client = client(&ours.kubelet, &ours.ca).unwrap();
        assert!(handshake(config(), server_as_client, "localhost").is_err());
    }

    #[test]
    fn a_reception_lets_strangers_in_and_knows_them() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (pki(ours.path()), pki(theirs.path()));
        let reception = Reception::new(&ours.apiserver, &ours.ca).unwrap();
        let presented = |certificate: &Arc<Rotating>| {
            let config = ServerConfig::clone(&reception.config);
            let leaf = handshake(config, client(certificate, &ours.ca).unwrap(), "localhost").unwrap().unwrap();
            reception.verify(&[leaf.into()]).map_err(|error| error.to_string())
        };
        assert_eq!(presented(&ours.admin), Ok(()));
        // Of the same name, but not of the same key.
        assert_eq!(presented(&theirs.admin), Err("invalid peer certificate: BadSignature".to_owned()));
        assert!(presented(&ours.kubelet).is_err(), "a serving certificate");
        assert!(reception.verify(&[]).is_err());
    }
}
