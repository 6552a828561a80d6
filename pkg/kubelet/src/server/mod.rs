//! The node's HTTPS port: logs, exec, attach and port-forward of this node's containers.
//!
//! The API server's `pods/log`, `pods/exec` and so on are forwarded here, on a cluster of one node too. Paths and parameters
//! are upstream's (`k8s.io/kubernetes/pkg/kubelet/server/server.go`). Everything is answered from the runtime, so that it
//! works for containers that a former process started.

mod access;
mod find;
mod log_line;
mod logs;
mod streaming;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use knarr_base::Shutdown;
use knarr_base::readiness::Pending;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::cri::Runtime;
pub use access::Access;

/// Upstream's port.
pub const PORT: u16 = 10250;
/// A client has this long for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After a connection that could not be accepted: without descriptors the next one cannot either.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) shutdown: Shutdown,
}

/// The certificate that a connection's client presented, if any; already verified against the cluster's authority.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(crate) Option<CertificateDer<'static>>);

/// An error as the node's port tells it: plain text, which the API server wraps into a `Status`.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl Refusal {
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }
}

/// The node's HTTPS server.
pub struct Server {
    runtime: Arc<dyn Runtime>,
    tls: TlsAcceptor,
    access: Access,
}

impl Server {
    /// A server that authenticates clients by certificates that `tls` verifies and authorizes them by `access`.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, tls: Arc<rustls::ServerConfig>, access: Access) -> Self {
        Self { runtime, tls: TlsAcceptor::from(tls), access }
    }

    /// Listens on `address` until the drain starts; `ready` is dropped when it does.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn run(self, address: SocketAddr, ready: Pending, shutdown: Shutdown) -> std::io::Result<()> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        drop(ready);
        let router = router(Node { runtime: self.runtime, shutdown: shutdown.clone() }, self.access);
        let mut connections = tokio::task::JoinSet::new();
        while let Some(accepted) = shutdown.or(listener.accept()).await {
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, from)) => {
                    let (tls, router, shutdown) = (self.tls.clone(), router.clone(), shutdown.clone());
                    connections.spawn(async move { shutdown.or(serve(stream, from, tls, router)).await });
                }
                // Out of descriptors, or the client is gone already: others may have more luck in a moment.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    shutdown.or(tokio::time::sleep(ACCEPT_AGAIN)).await;
                }
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, tls: TlsAcceptor, router: Router) {
    // A keystroke is not to wait for the next one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "no TCP_NODELAY");
    }
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        tracing::debug!(%from, "no TLS handshake");
        return;
    };
    let peer =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|der| der.clone().into_owned());
    let router = router.layer(axum::Extension(Peer(peer))).layer(axum::Extension(ConnectInfo(from)));
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        tracing::debug!(%from, %error, "a connection broke");
    }
}

fn router(node: Node, access: Access) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::container_logs))
        .route("/exec/{namespace}/{pod}/{container}", any(streaming::exec))
        .route("/attach/{namespace}/{pod}/{container}", any(streaming::attach))
        .route("/portForward/{namespace}/{pod}", any(streaming::port_forward))
        .with_state(node)
        .layer(axum::middleware::from_fn_with_state(access, access::check))
}
