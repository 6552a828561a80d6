//! rustls configurations that follow renewals.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::{Authority, Error, Rotating};

/// A server that presents `certificate` and asks clients for one of `clients`. A client may present none: who it is then
/// is for its token to say. HTTP/2 is preferred.
///
/// # Errors
/// When rustls refuses the authority.
pub fn server(certificate: &Arc<Rotating>, clients: &Authority) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(clients)?, Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::Malformed(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificate) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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
}
