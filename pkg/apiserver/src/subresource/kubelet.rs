//! `pods/log`, `exec`, `attach` and `portforward`: forwarded to the HTTPS port of the pod's node, on one node too.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::{Result, Status};
use knarr_api::tree::Tree;
use knarr_base::Shutdown;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Call, Subresource, Subresources};
use crate::request::Query;

/// Where kubelets listen when their Node does not say.
const PORT: u16 = 10_250;
/// A node that does not answer within this time is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest error text that is passed on.
const ERROR: usize = 50_000;

/// What the API server has in common with all of a kubelet's clients.
#[derive(Clone)]
pub struct Kubelets {
    tls: TlsConnector,
    shutdown: Shutdown,
}

/// Which of the four.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Log,
    Exec,
    Attach,
    PortForward,
}

struct Forwarding {
    what: What,
    kubelets: Kubelets,
}

impl Kubelets {
    /// Connects with a client certificate that kubelets trust, and trusts what the cluster's authority signed.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>, shutdown: Shutdown) -> Self {
        Self { tls: TlsConnector::from(tls), shutdown }
    }

    /// Adds the subresources that kubelets answer.
    pub fn register(&self, subresources: &mut Subresources) {
        for (name, what) in
            [("log", What::Log), ("exec", What::Exec), ("attach", What::Attach), ("portforward", What::PortForward)]
        {
            let forwarding = Forwarding { what, kubelets: self.clone() };
            subresources.insert(("", "pods", name), Arc::new(forwarding));
        }
    }

    async fn connect(&self, node: &Object) -> Result<TlsStream<TcpStream>> {
        let (address, port) = address(node)?;
        let failed = |error: std::io::Error| {
            Status::internal(format!("error dialing backend: dial tcp {address}:{port}: {error}"))
        };
        let connected = async {
            let stream = TcpStream::connect((address, port)).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(ServerName::IpAddress(address.into()), stream).await
        };
        match tokio::time::timeout(CONNECT, connected).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

/// The address and port of a node's kubelet: the first address of the types that upstream prefers.
fn address(node: &Object) -> Result<(IpAddr, u16)> {
    let of = |kind: &str| {
        let mut addresses = node.objects("status.addresses").filter(|address| address.text("type") == kind);
        addresses.find_map(|address| address.text("address").parse().ok())
    };
    let found = ["InternalIP", "ExternalIP"].into_iter().find_map(of);
    let found =
        found.ok_or_else(|| Status::internal(format!("no preferred addresses found for node {:?}", node.name())))?;
    let port = u16::try_from(node.number("status.daemonEndpoints.kubeletEndpoint.Port")).unwrap_or_default();
    Ok((found, if port == 0 { PORT } else { port }))
}

#[async_trait]
impl Subresource for Forwarding {
    async fn serve(&self, call: Call<'_>, mut request: Request<Body>) -> Result<Response> {
        let info = &call.cx.info;
        let pod = call.registry.get(&call.resource.kind, &info.namespace, &info.name).await?;
        let node_name = pod.text("spec.nodeName");
        if node_name.is_empty() {
            return Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name())));
        }
        let nodes = call.registry.kind("", "nodes").ok_or_else(Status::no_such_path)?;
        let node = call.registry.get(&nodes, "", node_name).await?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        *request.uri_mut() = self.path(&pod, Query::new(&query))?;
        let headers = request.headers_mut();
        // The client's credentials are for us alone.
        headers.remove(header::AUTHORIZATION);
        let host = node_name.parse().map_err(|_| Status::internal("the node's name is no host name"))?;
        headers.insert(header::HOST, host);
        let stream = self.kubelets.connect(&node).await?;
        let answer = knarr_stream::forward(request, stream, &self.kubelets.shutdown).await;
        let answer = answer.map_err(|error| Status::internal(format!("error dialing backend: {error}")))?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        Err(refusal(answer, &call, &info.name).await)
    }
}

impl Forwarding {
    fn path(&self, pod: &Object, query: Query<'_>) -> Result<Uri> {
        let (namespace, name) = (pod.namespace(), pod.name());
        let mut out = form_urlencoded::Serializer::new(String::new());
        let path = match self.what {
            What::PortForward => {
                for port in query.all("ports").iter().flat_map(|ports| ports.split(',')) {
                    out.append_pair("port", port);
                }
                format!("/portForward/{namespace}/{name}")
            }
            What::Log => {
                let container = container(pod, query.get("container").as_deref().unwrap_or_default())?;
                check_log_options(query)?;
                for option in [
                    "follow",
                    "previous",
                    "timestamps",
                    "sinceSeconds",
                    "sinceTime",
                    "tailLines",
                    "limitBytes",
                    "stream",
                ] {
                    if let Some(value) = query.get(option) {
                        out.append_pair(option, &value);
                    }
                }
                format!("/containerLogs/{namespace}/{name}/{container}")
            }
            What::Exec | What::Attach => {
                let container = container(pod, query.get("container").as_deref().unwrap_or_default())?;
                // The names that the kubelet knows these by.
                for (option, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
                {
                    if query.flag(option) {
                        out.append_pair(theirs, "1");
                    }
                }
                for word in query.all("command") {
                    out.append_pair("command", &word);
                }
                let verb = if self.what == What::Exec { "exec" } else { "attach" };
                format!("/{verb}/{namespace}/{name}/{container}")
            }
        };
        format!("{path}?{}", out.finish()).parse().map_err(|_| Status::bad_request("the request names no valid path"))
    }
}

/// The container that is meant, with upstream's texts where none or a wrong one is named.
fn container(pod: &Object, wanted: &str) -> Result<String> {
    let all = ["containers", "initContainers", "ephemeralContainers"];
    let names = |list: &str| -> Vec<String> {
        pod.map("spec").objects(list).map(|container| container.text("name").to_owned()).collect()
    };
    if !wanted.is_empty() {
        if all.iter().any(|list| names(list).iter().any(|name| name == wanted)) {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {}", pod.name())));
    }
    let (containers, init) = (names("containers"), names("initContainers"));
    match containers.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {}", pod.name()))),
        many => {
            let mut text = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                many.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// What `ValidatePodLogOptions` refuses; numbers that are none are refused as upstream's decoding does.
fn check_log_options(query: Query<'_>) -> Result<()> {
    for (option, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(text) = query.get(option) else { continue };
        let wrong = || Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        let number: i64 = text.parse().map_err(|_| wrong())?;
        if number < least {
            let bound = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            return Err(Status::failure(
                422,
                "Invalid",
                format!("PodLogOptions \"\" is invalid: {option}: Invalid value: {number}: {bound}"),
            ));
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        return Err(Status::failure(422, "Invalid", format!("PodLogOptions \"\" is invalid: : Forbidden: {text}")));
    }
    Ok(())
}

/// The kubelet's plain text as a status (upstream's `GenericHttpResponseChecker`).
async fn refusal(answer: Response, call: &Call<'_>, name: &str) -> Status {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), ERROR).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::INTERNAL_SERVER_ERROR => Status::internal(text),
        StatusCode::NOT_FOUND => {
            let message = format!(
                "the server could not find the requested resource ( {} {name})",
                call.resource.kind.qualified()
            );
            Status::failure(404, "NotFound", if text.is_empty() { message } else { text })
                .about(&call.resource.kind, name)
        }
        other => Status::failure(
            other.as_u16(),
            "InternalError",
            format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Object {
        let Value::Object(pod) = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}) else {
            panic!("no object")
        };
        pod
    }

    fn path(what: What, spec: Value, query: &str) -> Result<String, String> {
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let kubelets = Kubelets::new(Arc::new(tls), Shutdown::new());
        let forwarding = Forwarding { what, kubelets };
        forwarding.path(&pod(spec), Query::new(query)).map(|uri| uri.to_string()).map_err(|status| status.message)
    }

    #[test]
    fn paths_of_the_kubelet() {
        let one = || json!({"containers": [{"name": "a"}]});
        let two = || json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(path(What::Log, one(), "follow=true&container=a"), ok("/containerLogs/shop/web/a?follow=true"));
        assert_eq!(
            path(What::Exec, two(), "container=b&command=sh&command=-c&command=a%26b&stdin=true&stdout=true&tty=false"),
            ok("/exec/shop/web/b?input=1&output=1&command=sh&command=-c&command=a%26b")
        );
        assert_eq!(path(What::Attach, one(), "stdout=1"), ok("/attach/shop/web/a?output=1"));
        assert_eq!(path(What::PortForward, one(), "ports=80,81"), ok("/portForward/shop/web?port=80&port=81"));
        assert_eq!(
            path(What::Log, two(), ""),
            Err("a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]".to_owned())
        );
        assert_eq!(path(What::Log, two(), "container=x"), Err("container x is not valid for pod web".to_owned()));
        assert_eq!(
            path(What::Log, one(), "tailLines=-1"),
            Err("PodLogOptions \"\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"
                .to_owned())
        );
        assert!(path(What::Log, one(), "tailLines=x").is_err());
    }

    #[test]
    fn addresses_of_nodes() {
        let node = |status: Value| {
            let Value::Object(node) = json!({"metadata": {"name": "n"}, "status": status}) else { panic!("no object") };
            address(&node).map_err(|status| status.message)
        };
        let internal = json!({"type": "InternalIP", "address": "192.0.2.1"});
        let host = json!({"type": "Hostname", "address": "n"});
        assert_eq!(node(json!({"addresses": [host, internal]})), Ok(("192.0.2.1".parse().unwrap(), 10_250)));
        let port = json!({"kubeletEndpoint": {"Port": 10_251}});
        assert_eq!(node(json!({"addresses": [internal], "daemonEndpoints": port})).unwrap().1, 10_251);
        assert!(node(json!({"addresses": [host]})).unwrap_err().contains("no preferred addresses"));
    }
}
