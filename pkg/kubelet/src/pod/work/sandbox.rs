//! Making the sandbox of a pod.

use std::io;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;

use crate::cri::api;
use crate::pod::config::{self, Surroundings};
use crate::pod::names;
use crate::pod::shared::Shared;
use crate::pod::spec::{PodExt as _, pod_limits};
use crate::pod::state::Sandbox;

/// The configuration that the runtime wants with the sandbox and again with each container.
///
/// # Errors
/// When the node's resolvers cannot be read.
pub(in crate::pod) fn configuration(shared: &Shared, pod: &Pod, attempt: u32) -> io::Result<api::PodSandboxConfig> {
    let around = Surroundings {
        resolver: &shared.resolver.at(&shared.resolv_conf)?,
        logs: &shared.logs,
        cgroup_parent: shared.cgroups.pod_parent(pod.qos(), pod.uid()),
    };
    Ok(config::sandbox(pod, attempt, around))
}

/// Makes cgroup, log directory and sandbox.
///
/// # Errors
/// The text of the event `FailedCreatePodSandBox`.
pub(in crate::pod) async fn create(shared: &Shared, pod: &Pod, attempt: u32) -> Result<Sandbox, String> {
    let text = |error: io::Error| format!("Failed to create pod sandbox: {error}");
    let limits = pod_limits(pod.spec(), shared.pids);
    shared.cgroups.make_pod(pod.qos(), pod.uid(), &limits).await.map_err(text)?;
    let config = configuration(shared, pod, attempt).map_err(text)?;
    tokio::fs::create_dir_all(&config.log_directory).await.map_err(text)?;
    let handler = handler(shared, pod).await?;
    let rpc = |error: crate::cri::Error| format!("Failed to create pod sandbox: {}", error.rpc());
    let id = shared.runtime.run_sandbox(config, &handler).await.map_err(rpc)?;
    shared.owners.add(&id, pod.uid());
    let status = shared.runtime.sandbox_status(&id).await.map_err(rpc)?;
    Ok(names::sandbox(&status))
}

/// The runtime handler that the pod's RuntimeClass names; empty for the default.
async fn handler(shared: &Shared, pod: &Pod) -> Result<String, String> {
    let Some(name) = pod.spec().runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    let classes: Api<RuntimeClass> = Api::all(shared.client.clone());
    let class = classes.get_opt(name).await.map_err(|error| error.to_string())?;
    let class = class.ok_or_else(|| {
        format!("Failed to create pod sandbox: failed to get sandbox runtime: RuntimeClass {name:?} not found")
    })?;
    Ok(class.handler)
}
