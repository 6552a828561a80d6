//! The TLS transport against a real server on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::kubeconfig;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Writes an identity and a kubeconfig that refers to it.
    fn kubeconfig(&self, folder: &Path, name: &str, server: SocketAddr) -> std::path::PathBuf {
        let (certificate, key) = self.leaf(name);
        std::fs::write(folder.join("ca.crt"), &self.pem).unwrap();
        std::fs::write(folder.join("client.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.join("client.key"), key.serialize_pem()).unwrap();
        let path = folder.join("kubeconfig");
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://{server}', certificate-authority: ca.crt}}}}]\n\
             users: [{{name: u, user: {{client-certificate: client.crt, client-key: client.key}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Answers with the name in the client's certificate and the protocol. Each of the connections lasts until `hang_up`.
async fn serve(authority: &Authority, connections: usize, hang_up: Arc<Notify>) -> (SocketAddr, JoinSet<()>) {
    let (certificate, key) = authority.leaf("server");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for _ in 0..connections {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = acceptor.accept(tcp).await.unwrap();
            let peer = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let name = ["first", "second"].into_iter().find(|name| contains(&peer, name.as_bytes()));
            let answer = move |request: Request| {
                let version = format!("{:?}", request.version());
                async move { format!("{} {version}", name.unwrap()) }
            };
            let router = Router::new().route("/version", get(answer));
            let (executor, service) = (TokioExecutor::new(), TowerToHyperService::new(router));
            let builder = Builder::new(executor);
            let connection = builder.serve_connection(TokioIo::new(tls), service);
            tokio::select! {
                ended = connection => ended.unwrap(),
                () = hang_up.notified() => {}
            }
        }
    });
    (address, tasks)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

async fn ask(client: &kube::Client) -> Result<String, kube::Error> {
    client.request_text(http::Request::get("/version").body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn a_rotated_certificate_is_used_by_the_next_connection() {
    let authority = Authority::new();
    let hang_up = Arc::new(Notify::new());
    let (address, _server) = serve(&authority, 2, hang_up.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let client = kubeconfig(authority.kubeconfig(folder.path(), "first", address)).unwrap();
    assert_eq!(ask(&client).await.unwrap(), "first HTTP/2.0");
    authority.kubeconfig(folder.path(), "second", address);
    assert_eq!(ask(&client).await.unwrap(), "first HTTP/2.0", "the connection goes on");
    hang_up.notify_one();
    // A request that the dying connection takes with it is asked again.
    let second = async {
        loop {
            match ask(&client).await {
                Ok(answer) if answer.starts_with("second") => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), second).await.expect("the new certificate is never used");
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (mine, other) = (Authority::new(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (certificate, key) = other.leaf("server");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(tcp).await.map(|_| ()).unwrap_err().to_string()
    });
    let folder = tempfile::tempdir().unwrap();
    let client = kubeconfig(mine.kubeconfig(folder.path(), "first", address)).unwrap();
    ask(&client).await.unwrap_err();
    let refusal = server.await.unwrap();
    assert!(refusal.starts_with("received fatal alert"), "{refusal}");
}
