//! The client's side of SPDY/3.1, as far as container runtimes speak it
//! (<https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>).
//!
//! Runtimes do not use flow control windows, so neither does this: a stream that nobody reads holds up its connection, which
//! carries one exec, attach or port-forward only.

mod connection;
mod frame;

pub use connection::{Connection, Sender, Stream};

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use knarr_base::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Error;

/// The name that a client asks to change to.
pub const PROTOCOL: &str = "SPDY/3.1";
/// The header that names what the SPDY streams are used for.
pub const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Asks the server behind `io` for `request`'s resource over SPDY, with streams used as `protocol` says, and gives back what
/// speaks SPDY from then on. The request needs a path, a query and a `Host` header only.
///
/// # Errors
/// When the server does not agree; the error carries its answer.
pub async fn connect<I>(
    request: http::request::Builder,
    protocol: &'static str,
    io: I,
    shutdown: &Shutdown,
) -> Result<TokioIo<Upgraded>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let drain = shutdown.clone();
    tokio::spawn(async move { drain.or(connection.with_upgrades()).await });
    let mut request: Request<Body> = request.body(Body::empty()).map_err(std::io::Error::other)?;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        return Err(Error::Refused { status, message: String::from_utf8_lossy(&body).trim().to_owned() });
    }
    let upgraded = hyper::upgrade::on(&mut response).await?;
    Ok(TokioIo::new(upgraded))
}
