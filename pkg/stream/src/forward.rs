//! Passing one request on to another server, with whatever protocol the two sides agree to change to.

use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use knarr_base::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::Error;

/// Headers that belong to one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Whether the client asks to change protocols.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = connection.flat_map(|value| value.split(','));
    headers.contains_key(header::UPGRADE) && options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Sends `request` over `io` and gives back the answer. When the server agrees to change protocols, the bytes of both
/// sides are passed on until one of them ends or the drain starts. The request's URI must already be the server's, with
/// only path and query, and its `Host` header set.
///
/// # Errors
/// When the connection breaks before the head of the answer has arrived.
pub async fn forward<I>(request: Request<Body>, io: I, shutdown: &Shutdown) -> Result<Response<Body>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let drain = shutdown.clone();
    tokio::spawn(async move { drain.or(connection.with_upgrades()).await });
    let (request, inbound) = prepare(request);
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let mut response = response.map(Body::new);
        strip(response.headers_mut());
        return Ok(response);
    }
    let outbound = hyper::upgrade::on(&mut response);
    if let Some(inbound) = inbound {
        let drain = shutdown.clone();
        tokio::spawn(async move { drain.or(splice(inbound, outbound)).await });
    }
    Ok(response.map(|_| Body::empty()))
}

/// The request as it is sent on, and where the client's side of the changed protocol will come from.
fn prepare(mut request: Request<Body>) -> (Request<Body>, Option<OnUpgrade>) {
    let upgrade = request.headers().get(header::UPGRADE).filter(|_| is_upgrade(request.headers())).cloned();
    strip(request.headers_mut());
    let inbound = upgrade.map(|protocol| {
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
        hyper::upgrade::on(&mut request)
    });
    (request, inbound)
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(header::UPGRADE);
    headers.remove("keep-alive");
}

async fn splice(inbound: OnUpgrade, outbound: OnUpgrade) {
    let spliced = async {
        let (inbound, outbound): (Upgraded, Upgraded) = tokio::try_join!(inbound, outbound)?;
        copy_bidirectional(&mut TokioIo::new(inbound), &mut TokioIo::new(outbound)).await?;
        Ok::<_, Error>(())
    };
    if let Err(error) = spliced.await {
        tracing::debug!(%error, "a forwarded stream broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::Path;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// Serves a router on one end of a pipe; the other end is given back.
    fn serve(router: Router) -> DuplexStream {
        let (client, server) = tokio::io::duplex(4096);
        let service = hyper_util::service::TowerToHyperService::new(router);
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).with_upgrades(),
        );
        client
    }

    fn request(path: &str) -> http::request::Builder {
        Request::get(path).header(header::HOST, "node")
    }

    #[tokio::test]
    async fn an_answer_is_passed_through() {
        let upstream =
            Router::new().route("/logs/{name}", get(|Path(name): Path<String>| async move { format!("of {name}\n") }));
        let answer =
            forward(request("/logs/web").body(Body::empty()).unwrap(), serve(upstream), &Shutdown::new()).await;
        let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"of web\n");
    }

    /// Echoes in upper case what comes after the change of protocols.
    async fn shout(mut request: Request<Body>) -> Response<Body> {
        if !is_upgrade(request.headers()) {
            return Response::builder().status(StatusCode::BAD_REQUEST).body("no upgrade".into()).unwrap();
        }
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 5];
            io.read_exact(&mut word).await.unwrap();
            io.write_all(&word.to_ascii_uppercase()).await.unwrap();
        });
        let switch = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        switch.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "shout").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn both_sides_of_a_changed_protocol_are_joined() {
        let middle = Router::new().route(
            "/",
            get(|request: Request<Body>| async move {
                let upstream = serve(Router::new().route("/", get(shout)));
                forward(request, upstream, &Shutdown::new()).await.unwrap()
            }),
        );
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(serve(middle))).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let asks = request("/").header(header::CONNECTION, "keep-alive, Upgrade").header(header::UPGRADE, "shout");
        let mut answer = sender.send_request(asks.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()[header::UPGRADE], "shout");
        let mut io = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
        io.write_all(b"hello").await.unwrap();
        let mut echoed = [0; 5];
        io.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"HELLO");
    }

    #[tokio::test]
    async fn a_refusal_is_passed_through() {
        let upstream = serve(Router::new().route("/", get(shout)));
        let answer = forward(request("/").body(Body::empty()).unwrap(), upstream, &Shutdown::new()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
}
