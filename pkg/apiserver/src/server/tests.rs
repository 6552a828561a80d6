use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::request::Parts;
use http::{Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_api::user::UserInfo;
use knarr_base::Shutdown;
use knarr_pki::{ClusterPki, Names, tls};
use knarr_store::LogStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authn::{Authenticate, PeerCertificate};
use crate::authz::{Attributes, Authorize, Decision};
use crate::registry::{Hooks, Registry};
use crate::subresource::Subresources;
use crate::{Access, ApiServer, Config, Pages};

/// Who has a certificate is somebody.
struct ByCertificate;

#[async_trait]
impl Authenticate for ByCertificate {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>> {
        let certificate = request.extensions.get::<PeerCertificate>();
        let verified =
            certificate.map(|certificate| certificate.0.as_ref().as_ref().map_err(|_| Status::unauthorized()));
        Ok(verified.transpose()?.map(|leaf| UserInfo::new(format!("{} bytes", leaf.len()), &[])))
    }
}

struct Everything;

#[async_trait]
impl Authorize for Everything {
    async fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }
}

struct Running {
    address: SocketAddr,
    pki: ClusterPki,
    shutdown: Shutdown,
    server: tokio::task::JoinHandle<Result<(), crate::Error>>,
    _directory: tempfile::TempDir,
}

async fn start() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let names = Names {
        node: "n".into(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        service: Vec::new(),
        cluster_domain: "cluster.local".into(),
        extra: Vec::new(),
    };
    let pki = ClusterPki::open(&directory.path().join("pki"), &names).unwrap();
    let store = LogStore::open(directory.path().join("store"), knarr_store::Options::default()).unwrap();
    let (registry, feed) = Registry::open(store, Vec::new(), Hooks::default()).await.unwrap();
    let access = Access { authenticator: Arc::new(ByCertificate), authorizer: Arc::new(Everything) };
    let server = ApiServer::new(Config::default(), registry, access, Subresources::default(), Pages::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
    let tls = tls::Reception::new(&pki.apiserver, &pki.ca).unwrap();
    let server = tokio::spawn(server.run(feed, vec![listener], tls, shutdown.clone()));
    Running { address, pki, shutdown, server, _directory: directory }
}

impl Running {
    fn anonymous(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.pki.ca.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        config.with_root_certificates(roots).with_no_client_auth()
    }

    /// Sends one request over a connection of its own.
    async fn get(&self, path: &str, alpn: &str, with_certificate: bool) -> http::Response<hyper::body::Incoming> {
        let config =
            if with_certificate { tls::client(&self.pki.admin, &self.pki.ca).unwrap() } else { self.anonymous() };
        self.get_as(path, alpn, config).await
    }

    async fn get_as(
        &self,
        path: &str,
        alpn: &str,
        mut config: rustls::ClientConfig,
    ) -> http::Response<hyper::body::Incoming> {
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
        let io = TokioIo::new(stream);
        let request = Request::get(format!("https://127.0.0.1{path}")).header("host", "127.0.0.1");
        let request = request.body(Body::empty()).unwrap();
        if alpn == "h2" {
            let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
    }
}

#[tokio::test]
async fn both_versions_of_http_are_served_to_who_has_a_certificate() {
    let running = start().await;
    for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let answer = running.get("/api/v1/namespaces", alpn, true).await;
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"kind\":\"NamespaceList\""), "{body:?}");
        assert_eq!(running.get("/api/v1/namespaces", alpn, false).await.status(), StatusCode::UNAUTHORIZED);
    }
}

/// As upstream: an alert of TLS would not tell a user that their kubeconfig is the wrong one or has expired.
#[tokio::test]
async fn a_certificate_of_another_authority_is_told_so_in_http() {
    let (running, other) = (start().await, start().await);
    for alpn in ["h2", "http/1.1"] {
        let stranger = tls::client(&other.pki.admin, &running.pki.ca).unwrap();
        let answer = running.get_as("/api/v1/namespaces", alpn, stranger).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&status["kind"], &status["reason"]), (&"Status".into(), &"Unauthorized".into()));
    }
}

#[tokio::test]
async fn a_drain_ends_watches_and_closes_the_listener() {
    let running = start().await;
    let mut watches = Vec::new();
    for alpn in ["h2", "http/1.1"] {
        let watch = running.get("/api/v1/namespaces?watch=1", alpn, true).await;
        assert_eq!(watch.status(), StatusCode::OK);
        watches.push(watch);
    }
    running.shutdown.start();
    for watch in watches {
        let rest = tokio::time::timeout(Duration::from_secs(5), watch.into_body().collect());
        assert!(rest.await.expect("the watch goes on").unwrap().to_bytes().is_empty());
    }
    let ended = tokio::time::timeout(Duration::from_secs(5), running.server).await;
    ended.expect("the server goes on").unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn who_speaks_no_tls_is_cut_off_and_bothers_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let running = start().await;
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut rest)).await.expect("still open");
    assert!(read.is_err() || !rest.starts_with(b"HTTP"), "{rest:?}");
    assert_eq!(running.get("/version", "h2", true).await.status(), StatusCode::OK);
}
