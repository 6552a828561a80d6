//! The sandbox of a pod.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::dns::Resolver;
use super::{resources, security};
use crate::cri::api;
use crate::pod::names;
use crate::pod::spec::PodExt as _;

/// What a sandbox depends on beside its pod.
pub(crate) struct Surroundings<'a> {
    pub(crate) resolver: &'a Resolver,
    /// Where the logs of all pods are.
    pub(crate) logs: &'a Path,
    pub(crate) cgroup_parent: String,
}

pub(crate) fn sandbox(pod: &Pod, attempt: u32, around: Surroundings<'_>) -> api::PodSandboxConfig {
    let sysctls = pod.spec().security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: pod.name().into(),
            uid: pod.uid().into(),
            namespace: pod.namespace().into(),
            attempt,
        }),
        hostname: if pod.host_network() { String::new() } else { kernel_hostname(pod, &around.resolver.domain) },
        log_directory: names::pod_logs(around.logs, pod).display().to_string(),
        dns_config: Some(around.resolver.of(pod)),
        port_mappings: ports(pod),
        labels: names::sandbox_labels(pod),
        annotations: pod
            .metadata
            .annotations
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent: around.cgroup_parent,
            security_context: Some(security::sandbox(pod)),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            resources: Some(resources::sandbox(pod)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The pod's hostname and the domain in which the cluster's DNS knows it; empty without a subdomain.
pub(crate) fn hostname(pod: &Pod, domain: &str) -> (String, String) {
    let spec = pod.spec();
    if let Some(own) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (own.to_owned(), String::new());
    }
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| pod.name());
    // A hostname has at most 63 characters and does not end with a dash or dot.
    let name: String = name.chars().take(63).collect();
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{subdomain}.{}.svc.{domain}", pod.namespace()));
    (name, full.unwrap_or_default())
}

/// What `uname -n` says in the pod. The kernel takes 64 characters.
fn kernel_hostname(pod: &Pod, domain: &str) -> String {
    let (name, full) = hostname(pod, domain);
    if pod.spec().set_hostname_as_fqdn == Some(true) && !full.is_empty() {
        let long = format!("{name}.{full}");
        if long.len() <= 64 {
            return long;
        }
    }
    name
}

fn ports(pod: &Pod) -> Vec<api::PortMapping> {
    let sidecars = pod.init().iter().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = pod.spec().containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .map(|port| api::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => api::Protocol::Udp,
                Some("SCTP") => api::Protocol::Sctp,
                _ => api::Protocol::Tcp,
            }
            .into(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::examples::pod;
    use serde_json::json;

    #[test]
    fn hostnames() {
        for (spec, name, domain) in [
            (json!({}), "p", ""),
            (json!({"hostname": "h", "subdomain": "s"}), "h", "s.n.svc.cluster.local"),
            (json!({"hostname": format!("{}-x", "a".repeat(62))}), &*"a".repeat(62), ""),
        ] {
            assert_eq!(hostname(&pod(spec), "cluster.local"), (name.to_owned(), domain.to_owned()));
        }
        let long = pod(json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true}));
        assert_eq!(kernel_hostname(&long, "cluster.local"), "h.s.n.svc.cluster.local");
    }
}
