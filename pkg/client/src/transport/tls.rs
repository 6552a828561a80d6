//! HTTP/2 (or 1.1) over TLS to an API server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::uri::{Parts, Uri};
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::Body;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Error;

/// Connecting and the handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead peer is noticed after this and [`PING_TIMEOUT`]: every watch of the process shares the connection.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// TLS settings that trust `authority` alone and present `identity` (chain and key), all PEM.
pub(super) fn config(authority: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A client of `server`. `settings` is called for every new connection, so that rotated certificates are used.
pub(super) fn client(
    server: Uri,
    token: Option<String>,
    settings: impl Fn() -> Result<ClientConfig, Error> + Clone + Send + Sync + 'static,
) -> kube::Client {
    let connector = tower::service_fn(move |uri: Uri| {
        let settings = settings.clone();
        Box::pin(async move {
            let connect = connect(uri, settings().map_err(io::Error::other)?);
            tokio::time::timeout(CONNECT_TIMEOUT, connect).await?.map(TokioIo::new).map(Stream)
        }) as Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>
    });
    let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build::<_, Body>(connector);
    let bearer = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    let service = tower::service_fn(move |mut request: http::Request<Body>| {
        if let Some(bearer) = &bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        let (target, hyper) = (absolute(&server, request.uri()), hyper.clone());
        async move {
            *request.uri_mut() = target?;
            hyper.request(request).await.map_err(tower::BoxError::from)
        }
    });
    kube::Client::new(service, "default")
}

/// `path` of the server; a server behind a prefix keeps it.
fn absolute(server: &Uri, path: &Uri) -> Result<Uri, http::Error> {
    let mut parts = Parts::default();
    parts.scheme = server.scheme().cloned();
    parts.authority = server.authority().cloned();
    let prefix = server.path().trim_end_matches('/');
    parts.path_and_query = Some(match path.path_and_query() {
        Some(path) => format!("{prefix}{path}").parse()?,
        None => "/".parse()?,
    });
    Ok(Uri::from_parts(parts)?)
}

async fn connect(uri: Uri, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A connection that knows which protocol was agreed on.
struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        let connected = Connected::new();
        if session.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_the_server_of_the_kubeconfig() {
        let cases = [
            ("https://10.0.0.1:6443", "/api/v1/pods?watch=true", "https://10.0.0.1:6443/api/v1/pods?watch=true"),
            ("https://[fd00::1]:6443/", "/api", "https://[fd00::1]:6443/api"),
            ("https://proxy/k8s/c-1", "/apis/apps/v1", "https://proxy/k8s/c-1/apis/apps/v1"),
        ];
        for (server, path, expected) in cases {
            let uri = absolute(&server.parse().unwrap(), &path.parse().unwrap()).unwrap();
            assert_eq!(uri.to_string(), expected);
        }
    }
}
