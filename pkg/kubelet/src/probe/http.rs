//! A GET as probes and hooks make it: no certificate is verified (the pod proves nothing by it, upstream does not either),
//! redirects within the host are followed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{HeaderMap, Request, Uri};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// As much of an answer is read, as upstream.
const BODY: usize = 10 * 1024;
const REDIRECTS: usize = 10;

/// Asks once, redirects included.
///
/// # Errors
/// What went wrong, in the words of upstream's events.
pub(super) async fn get(action: &HTTPGetAction, host: &str, port: u16, agent: &str) -> Result<(), String> {
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let host = action.host.as_deref().filter(|own| !own.is_empty()).unwrap_or(host);
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut url = format!("{scheme}://{}{path}", authority(host, port));
    let headers = headers(action, agent)?;
    for _ in 0..REDIRECTS {
        let uri: Uri = url.parse().map_err(|error| format!("parse {url:?}: {error}"))?;
        let (status, location, body) = once(&uri, &headers).await.map_err(|error| format!("Get {url:?}: {error}"))?;
        match status {
            301 | 302 | 303 | 307 | 308 if !location.is_empty() => {
                let Some(next) = redirect(&uri, &location) else {
                    // Another host: upstream takes that for a success, with a warning.
                    return Ok(());
                };
                url = next;
            }
            200..400 => return Ok(()),
            _ => {
                tracing::debug!("{url}: {body}");
                return Err(format!("HTTP probe failed with statuscode: {status}"));
            }
        }
    }
    Err(format!("Get {url:?}: stopped after {REDIRECTS} redirects"))
}

pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn headers(action: &HTTPGetAction, agent: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| text.parse().map_err(|_| format!("invalid header value {text:?}"));
    headers.insert(USER_AGENT, value(agent)?);
    headers.insert(ACCEPT, value("*/*")?);
    let mut own: BTreeMap<String, bool> = BTreeMap::new();
    for header in action.http_headers.iter().flatten() {
        let name: hyper::header::HeaderName =
            header.name.parse().map_err(|_| format!("invalid header {}", header.name))?;
        if own.insert(name.as_str().to_owned(), true).is_none() {
            headers.remove(&name);
        }
        // An empty Accept or User-Agent means that none is sent.
        if !header.value.is_empty() || ![ACCEPT, USER_AGENT].contains(&name) {
            headers.append(name, value(&header.value)?);
        }
    }
    Ok(headers)
}

/// Where a redirect leads, if it stays on the host.
fn redirect(from: &Uri, location: &str) -> Option<String> {
    let base = format!("{}://{}", from.scheme_str()?, from.authority()?);
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{base}{location}"));
    }
    let to: Uri = location.parse().ok()?;
    (to.host().is_some() && to.host() == from.host()).then(|| location.to_owned())
}

async fn once(uri: &Uri, headers: &HeaderMap) -> Result<(u16, String, String), String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = super::check::dial(host, port).await?;
    if secure {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let tls = tokio_rustls::TlsConnector::from(UNVERIFIED.clone()?);
        return exchange(tls.connect(name, stream).await.map_err(|error| error.to_string())?, uri, headers).await;
    }
    exchange::<TcpStream>(stream, uri, headers).await
}

async fn exchange<S>(stream: S, uri: &Uri, headers: &HeaderMap) -> Result<(u16, String, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| with_causes(&error);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    // The connection serves this one request, and ends when the sender is dropped.
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path);
    if !headers.contains_key(HOST) {
        request = request.header(HOST, uri.authority().map_or("", |authority| authority.as_str()));
    }
    let mut request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    request.headers_mut().extend(headers.clone());
    let answer = sender.send_request(request).await.map_err(text)?;
    let status = answer.status().as_u16();
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body = match Limited::new(answer.into_body(), BODY).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        // As much as one wants to know is enough; an answer that breaks off is none.
        Err(error) if error.is::<LengthLimitError>() => String::new(),
        Err(error) => return Err(with_causes(error.as_ref())),
    };
    drop(driver);
    Ok((status, location, body))
}

/// hyper's errors do not tell their causes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// How probes speak TLS, made once. Nothing is remembered of the peers.
static UNVERIFIED: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(Anything(schemes))).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
});

/// Accepts every certificate: the address that is asked is known to be the pod's.
#[derive(Debug)]
struct Anything(Vec<SignatureScheme>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Answers every request with the next of these.
    async fn server(answers: &'static [&'static str]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap();
                let request = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
                assert!(request.contains("user-agent: kube-probe/1.35"), "{request}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    async fn ask(answers: &'static [&'static str]) -> Result<(), String> {
        let port = server(answers).await;
        get(&HTTPGetAction::default(), "127.0.0.1", port, "kube-probe/1.35").await
    }

    #[tokio::test]
    async fn answers_are_judged_as_upstream_does() {
        const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(ask(&[OK]).await, Ok(()));
        let bad = ask(&["HTTP/1.1 500 Bad\r\ncontent-length: 0\r\n\r\n"]).await;
        assert_eq!(bad, Err("HTTP probe failed with statuscode: 500".into()));
        assert_eq!(ask(&["HTTP/1.1 302 F\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", OK]).await, Ok(()));
        let away = ask(&["HTTP/1.1 302 F\r\nlocation: http://other.test/\r\ncontent-length: 0\r\n\r\n"]).await;
        assert_eq!(away, Ok(()));
        let broken = ask(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]).await.unwrap_err();
        assert!(broken.ends_with("end of file before message length reached"), "{broken}");
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let error = get(&HTTPGetAction::default(), "127.0.0.1", 1, "x").await.unwrap_err();
        assert_eq!(error, "Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused");
    }
}
