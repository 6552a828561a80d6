//! TLS listeners: HTTP/1.1 and HTTP/2 by ALPN, upgrades, an orderly end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use knarr_base::Shutdown;
use knarr_pki::tls::Reception;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Server;
use crate::authn::PeerCertificate;
use crate::filter;

/// A peer that has not finished its handshake by then is not one.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client may take to send the head of a request, and to answer a ping.
const PATIENCE: Duration = Duration::from_secs(30);

/// A failed accept (no file descriptors left) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves on all listeners until the shutdown starts, and then until every request has been answered or the drain's time is
/// over.
pub(super) async fn serve(
    server: &Arc<Server>,
    listeners: Vec<std::net::TcpListener>,
    tls: Reception,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        accepting.spawn(accept(server.clone(), listener, tls.clone(), shutdown.clone(), graceful.clone()));
    }
    shutdown.wait().await;
    while accepting.join_next().await.is_some() {}
    // All who accept have ended, so this is the last reference.
    let Some(graceful) = Arc::into_inner(graceful) else { return Ok(()) };
    if tokio::time::timeout(server.config.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still running when the drain's time was over");
    }
    Ok(())
}

async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Reception,
    shutdown: Shutdown,
    graceful: Arc<GracefulShutdown>,
) {
    while let Some(accepted) = shutdown.or(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(connection(server.clone(), stream, peer, tls.clone(), graceful.watcher()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, tls: Reception, watcher: Watcher) {
    // Answers are written whole; waiting for more only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let stream = match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls.config.clone()).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let presented = stream.get_ref().1.peer_certificates();
    let certificate = presented.and_then(|chain| {
        let leaf = chain.first()?.clone().into_owned();
        let verified = tls.verify(chain).map(|()| leaf).map_err(|error| format!("x509: {error}"));
        Some(PeerCertificate(Arc::new(verified)))
    });
    let service = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        let mut request = request.map(Body::new);
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        async move { Ok::<_, Infallible>(filter::answer(server, request).await) }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE)
        .max_concurrent_streams(1000)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024);
    let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
