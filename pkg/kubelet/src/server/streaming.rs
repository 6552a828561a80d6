//! Exec, attach and port-forward: the client's side is SPDY or WebSocket, the runtime's side is its streaming server.

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequest, Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, Uri, header};
use knarr_stream::bridge::{self, Wanted};
use knarr_stream::channel::{PROTOCOLS, Protocol};
use knarr_stream::{forward, is_upgrade, spdy, tunnel};
use tokio::net::TcpStream;

use super::{Node, Refusal, find};
use crate::cri::api;

/// `/exec/NAMESPACE/POD/CONTAINER?command=...&input=1&output=1&error=1&tty=1`.
pub(super) async fn exec(
    State(node): State<Node>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let options = Options::new(request.uri())?;
    if options.command.is_empty() {
        return Err(Refusal::bad_request("you must specify at least 1 command for the container"));
    }
    let container_id = find::running(&node.runtime, &namespace, &pod, &container).await?;
    let Options { command: cmd, wanted: Wanted { stdin, stdout, stderr, tty } } = options.clone();
    let call = api::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr };
    let url = node.runtime.exec_url(call).await.map_err(Refusal::internal)?;
    remote_command(node, request, &url, options.wanted).await
}

/// `/attach/NAMESPACE/POD/CONTAINER?input=1&output=1&error=1&tty=1`.
pub(super) async fn attach(
    State(node): State<Node>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let wanted = Options::new(request.uri())?.wanted;
    let container_id = find::running(&node.runtime, &namespace, &pod, &container).await?;
    let Wanted { stdin, stdout, stderr, tty } = wanted;
    let call = api::AttachRequest { container_id, stdin, tty, stdout, stderr };
    let url = node.runtime.attach_url(call).await.map_err(Refusal::internal)?;
    remote_command(node, request, &url, wanted).await
}

/// `/portForward/NAMESPACE/POD`.
pub(super) async fn port_forward(
    State(node): State<Node>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let pod_sandbox_id = find::sandbox(&node.runtime, &namespace, &pod).await?;
    let call = api::PortForwardRequest { pod_sandbox_id, port: Vec::new() };
    let url = node.runtime.port_forward_url(call).await.map_err(Refusal::internal)?;
    let target = Target::new(&url)?;
    if !is_websocket(&request) {
        return target.forward(request, &node).await;
    }
    let upgrade = upgrade(request).await?.protocols([tunnel::PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Err(Refusal::bad_request(format!("the WebSocket protocol {} is required", tunnel::PROTOCOL)));
    }
    let stream = target.connect().await?;
    let connection = spdy::connect(target.request(), tunnel::STREAM_PROTOCOL, stream, &node.shutdown);
    let runtime = connection.await.map_err(Refusal::internal)?;
    Ok(upgrade.on_upgrade(async move |socket| {
        if let Some(Err(error)) = node.shutdown.or(tunnel::run(socket, runtime)).await {
            tracing::debug!(%error, pod, namespace, "a port-forward broke");
        }
    }))
}

async fn remote_command(node: Node, request: Request<Body>, url: &str, wanted: Wanted) -> Result<Response, Refusal> {
    let target = Target::new(url)?;
    if !is_websocket(&request) {
        return target.forward(request, &node).await;
    }
    let upgrade = upgrade(request).await?.protocols(PROTOCOLS.map(|protocol| protocol.name));
    let name = upgrade.selected_protocol().and_then(|name| name.to_str().ok());
    let protocol = Protocol::negotiated(name).ok_or_else(|| Refusal::bad_request("no known WebSocket protocol"))?;
    let stream = target.connect().await?;
    let connection = spdy::connect(target.request(), bridge::STREAM_PROTOCOL, stream, &node.shutdown);
    let runtime = spdy::Connection::new(connection.await.map_err(Refusal::internal)?, &node.shutdown);
    Ok(upgrade.on_upgrade(async move |socket| {
        if let Some(Err(error)) = node.shutdown.or(bridge::run(socket, protocol, runtime, wanted)).await {
            tracing::debug!(%error, "a remote command broke");
        }
    }))
}

fn is_websocket(request: &Request<Body>) -> bool {
    let protocol = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    is_upgrade(request.headers()) && protocol.eq_ignore_ascii_case("websocket")
}

async fn upgrade(request: Request<Body>) -> Result<WebSocketUpgrade, Refusal> {
    WebSocketUpgrade::from_request(request, &())
        .await
        .map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))
}

/// What the query says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    command: Vec<String>,
    wanted: Wanted,
}

impl Options {
    fn new(uri: &Uri) -> Result<Self, Refusal> {
        let mut options = Self { command: Vec::new(), wanted: Wanted::default() };
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        for (name, value) in query.map_err(|error| Refusal::bad_request(error.to_string()))?.0 {
            let on = matches!(value.as_str(), "1" | "true");
            match name.as_str() {
                "command" => options.command.push(value),
                "input" => options.wanted.stdin = on,
                "output" => options.wanted.stdout = on,
                "error" => options.wanted.stderr = on,
                "tty" => options.wanted.tty = on,
                _ => {}
            }
        }
        let Wanted { stdin, stdout, stderr, tty } = options.wanted;
        if tty && stderr {
            options.wanted.stderr = false;
        }
        if !(stdin || stdout || stderr) {
            return Err(Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(options)
    }
}

/// A URL of the runtime's streaming server, which listens on this node only.
struct Target {
    authority: String,
    path: Uri,
}

impl Target {
    fn new(url: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::internal(format!("the runtime gave the streaming address {url:?}"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?.as_str().to_owned();
        let path = uri.path_and_query().ok_or_else(wrong)?.as_str().parse().map_err(|_| wrong())?;
        Ok(Self { authority, path })
    }

    async fn connect(&self) -> Result<TcpStream, Refusal> {
        let connected = async {
            let stream = TcpStream::connect(&self.authority).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        connected.await.map_err(|error| Refusal::internal(format!("the runtime's streaming server: {error}")))
    }

    fn request(&self) -> http::request::Builder {
        Request::post(self.path.clone()).header(header::HOST, &self.authority)
    }

    /// Passes the client's own request on to the runtime, which speaks the client's protocol.
    async fn forward(&self, mut request: Request<Body>, node: &Node) -> Result<Response, Refusal> {
        let host = HeaderValue::from_str(&self.authority).map_err(Refusal::internal)?;
        *request.uri_mut() = self.path.clone();
        request.headers_mut().insert(header::HOST, host);
        let stream = self.connect().await?;
        let answer = forward(request, stream, &node.shutdown).await.map_err(Refusal::internal)?;
        Ok(answer.into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_queries() {
        let options = |query: &str| Options::new(&format!("/exec/a/b/c?{query}").parse().unwrap());
        let found = options("command=sh&command=-c&command=echo%20hi&input=1&output=1&tty=1").unwrap();
        assert_eq!(found.command, ["sh", "-c", "echo hi"]);
        assert_eq!(found.wanted, Wanted { stdin: true, stdout: true, stderr: false, tty: true });
        assert!(!options("output=1&error=1&tty=1").unwrap().wanted.stderr, "a terminal has no stderr of its own");
        let refused = options("command=sh").unwrap_err();
        assert_eq!(refused.1, "you must specify at least 1 of stdin, stdout, stderr");
    }

    #[test]
    fn addresses_of_the_runtime() {
        let target = Target::new("http://127.0.0.1:40001/exec/token").unwrap();
        assert_eq!((target.authority.as_str(), target.path.path()), ("127.0.0.1:40001", "/exec/token"));
        assert!(Target::new("nonsense").is_err());
    }
}
