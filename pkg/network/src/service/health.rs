//! `healthCheckNodePort`: tells external load balancers whether this node has endpoints of a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::Key;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::plan::external_local;

/// Load balancers ask every few seconds and say nothing long.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_REQUEST: u64 = 8192;

/// What a Service wants to be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) port: u16,
    /// Ready endpoints on this node.
    pub(super) endpoints: usize,
}

/// The check of a Service; `None` unless it is a load balancer under the policy `Local`.
pub(super) fn check<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &str,
) -> Option<Check> {
    let spec = service.spec.as_ref()?;
    let port = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)?;
    if spec.type_.as_deref() != Some("LoadBalancer") || !external_local(spec) {
        return None;
    }
    let endpoints = slices.into_iter().flat_map(|slice| &slice.endpoints);
    let here = endpoints.filter(|endpoint| endpoint.node_name.as_deref() == Some(node));
    let ready = here.filter(|endpoint| endpoint.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
    let addresses: BTreeSet<_> = ready.filter_map(|endpoint| endpoint.addresses.first()).collect();
    Some(Check { port, endpoints: addresses.len() })
}

/// The servers of all checks.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<Key, Server>);

#[derive(Debug)]
struct Server {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Health {
    /// Starts, changes or ends the server of a Service.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(super) async fn set(&mut self, service: &Key, check: Option<Check>) -> std::io::Result<()> {
        let Some(Check { port, endpoints }) = check else {
            self.0.remove(service);
            return Ok(());
        };
        if let Some(server) = self.0.get(service).filter(|server| server.port == port) {
            server.endpoints.store(endpoints, Ordering::Relaxed);
            return Ok(());
        }
        self.0.remove(service);
        let listener = listen(port).await?;
        let count = Arc::new(AtomicUsize::new(endpoints));
        let task = tokio::spawn(serve(listener, service.clone(), count.clone()));
        self.0.insert(service.clone(), Server { port, endpoints: count, task });
        Ok(())
    }
}

/// Both families at once, or IPv4 alone where the kernel has no IPv6.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => TcpListener::bind(("0.0.0.0", port)).await,
        other => other,
    }
}

async fn serve(listener: TcpListener, service: Key, endpoints: Arc<AtomicUsize>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer(&service, endpoints.load(Ordering::Relaxed));
                tokio::spawn(tokio::time::timeout(PATIENCE, respond(stream, answer)));
            }
            // Out of descriptors, for example; those who asked will ask again.
            Err(error) => {
                tracing::debug!(%service, %error, "cannot take a health check");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Reads a request to its end, so that closing does not reset the connection, and answers it whatever it is.
async fn respond(mut stream: TcpStream, answer: String) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader.take(LONGEST_REQUEST)).lines();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    writer.write_all(answer.as_bytes()).await?;
    writer.shutdown().await
}

/// As kube-proxy answers (`pkg/proxy/healthcheck/service_health.go`).
fn answer(service: &Key, endpoints: usize) -> String {
    let status = if endpoints > 0 { "200 OK" } else { "503 Service Unavailable" };
    let (namespace, name) = (service.namespace(), service.name());
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {endpoints}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(port: u16) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_load_balancer_learns_whether_to_send_here() {
        let service = Key::new("default", "web");
        let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        let mut health = Health::default();
        health.set(&service, Some(Check { port, endpoints: 2 })).await.unwrap();
        let answer = ask(port).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("X-Load-Balancing-Endpoint-Weight: 2\r\n"), "{answer}");
        let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["service"]["name"], "web");
        assert_eq!(body["localEndpoints"], 2);
        health.set(&service, Some(Check { port, endpoints: 0 })).await.unwrap();
        assert!(ask(port).await.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        health.set(&service, None).await.unwrap();
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
