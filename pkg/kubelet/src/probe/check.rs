//! One attempt of a probe, or one run of a hook.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, GRPCAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use super::http;
use crate::cri::Runtime;

const PROBE_AGENT: &str = "kube-probe/1.35";
const HOOK_AGENT: &str = "kube-lifecycle/1.35";
/// A hook without an end of its own runs at most as long as the call may take.
const HOOK: Duration = Duration::from_secs(24 * 3600);
/// So much of a command's output goes into an event.
const OUTPUT: usize = 10 * 1024;

/// The container that is asked.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) id: String,
    pub(crate) container: Container,
    /// The pod's address.
    pub(crate) ip: String,
}

/// Asks once.
///
/// # Errors
/// Why the container is not well, as the event says it.
pub(super) async fn probe(target: &Target, probe: &Probe) -> Result<(), String> {
    let timeout =
        Duration::from_secs(probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1));
    if let Some(action) = &probe.exec {
        return exec(target, action, timeout).await;
    }
    let attempt = async {
        if let Some(action) = &probe.http_get {
            let port = port(&target.container, &action.port)?;
            return http::get(action, &target.ip, port, PROBE_AGENT).await;
        }
        if let Some(action) = &probe.tcp_socket {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
            return dial(host, port(&target.container, &action.port)?).await.map(|_| ());
        }
        if let Some(action) = &probe.grpc {
            return grpc(action, &target.ip).await;
        }
        Err("missing probe handler".to_owned())
    };
    let what = if probe.http_get.is_some() {
        "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    } else {
        "i/o timeout"
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Err(what.to_owned()))
}

/// Runs a lifecycle hook.
///
/// # Errors
/// Why it failed.
pub(crate) async fn hook(target: &Target, handler: &LifecycleHandler) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        return exec(target, action, HOOK).await;
    }
    if let Some(action) = &handler.http_get {
        let port = port(&target.container, &action.port)?;
        return http::get(action, &target.ip, port, HOOK_AGENT).await;
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
    }
    Ok(())
}

async fn exec(target: &Target, action: &ExecAction, timeout: Duration) -> Result<(), String> {
    let command: Vec<String> = action.command.clone().unwrap_or_default();
    let answer = match target.runtime.exec_sync(&target.id, &command, timeout).await {
        Ok(answer) => answer,
        Err(error) if error.timed_out() => {
            return Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), timeout.as_secs()));
        }
        Err(error) => return Err(error.rpc()),
    };
    if answer.exit_code == 0 {
        return Ok(());
    }
    let output: Vec<u8> = answer.stdout.into_iter().chain(answer.stderr).take(OUTPUT).collect();
    Err(String::from_utf8_lossy(&output).into_owned())
}

/// Opens a connection; errors read like Go's.
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| {
        let cause = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {}: {cause}", http::authority(host, port))
    })
}

/// A number, or the name of one of the container's ports.
fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("couldn't find port: {name:?}"))?,
            }
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
async fn grpc(action: &GRPCAction, ip: &str) -> Result<(), String> {
    let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port))?;
    let address = http::authority(ip, port);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint.user_agent(PROBE_AGENT).map_err(|error| error.to_string())?;
    let failed = |cause: String| format!("timeout: failed to connect service {address:?} within 1s: {cause}");
    let channel = endpoint.connect().await.map_err(|error| failed(error.to_string()))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| failed(error.to_string()))?;
    let request = tonic::Request::new(HealthRequest { service: action.service.clone().unwrap_or_default() });
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthRequest, HealthResponse>::default();
    let answer = client
        .unary(request, path, codec)
        .await
        .map_err(|status| format!("error: health rpc failed: {}", status.message()))?;
    match answer.into_inner().status {
        SERVING => Ok(()),
        status => Err(format!(
            "service unhealthy (responded with {:?})",
            ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
                .get(usize::try_from(status).unwrap_or(0))
                .unwrap_or(&"UNKNOWN")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_found_by_name() {
        let container: Container =
            serde_json::from_value(json!({"name": "a", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap();
        for (wanted, expect) in [
            (IntOrString::Int(80), Ok(80)),
            (IntOrString::String("web".into()), Ok(8080)),
            (IntOrString::String("9090".into()), Ok(9090)),
            (IntOrString::String("absent".into()), Err("couldn't find port: \"absent\"")),
            (IntOrString::Int(0), Err("invalid port number: 0")),
            (IntOrString::Int(70_000), Err("invalid port number: 70000")),
        ] {
            assert_eq!(
                port(&container, &wanted).as_ref().map_err(String::as_str),
                expect.as_ref().map_err(|text| *text)
            );
        }
    }
}
