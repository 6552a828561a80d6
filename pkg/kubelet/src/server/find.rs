//! From names in a path to what the runtime has.

use std::sync::Arc;

use super::Refusal;
use crate::cri::{Runtime, api};
use crate::pod::names::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE};

/// The containers of that name, the newest first; more than one after restarts.
pub(super) async fn containers(
    runtime: &Arc<dyn Runtime>,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<Vec<api::Container>, Refusal> {
    let labels = [(POD_NAMESPACE, namespace), (POD_NAME, pod), (CONTAINER_NAME, container)];
    let mut found = runtime.list_containers(&labels).await.map_err(Refusal::internal)?;
    found.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    Ok(found)
}

/// The running container of that name.
pub(super) async fn running(
    runtime: &Arc<dyn Runtime>,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<String, Refusal> {
    let found = containers(runtime, namespace, pod, container).await?;
    let running = api::ContainerState::ContainerRunning as i32;
    let id = found.into_iter().find(|container| container.state == running).map(|container| container.id);
    id.ok_or_else(|| Refusal::not_found(format!("container not found (\"{container}\")")))
}

/// The ready sandbox of a pod.
pub(super) async fn sandbox(runtime: &Arc<dyn Runtime>, namespace: &str, pod: &str) -> Result<String, Refusal> {
    let labels = [(POD_NAMESPACE, namespace), (POD_NAME, pod)];
    let found = runtime.list_sandboxes(&labels).await.map_err(Refusal::internal)?;
    let ready = api::PodSandboxState::SandboxReady as i32;
    let newest = found.into_iter().filter(|sandbox| sandbox.state == ready).max_by_key(|sandbox| sandbox.created_at);
    newest
        .map(|sandbox| sandbox.id)
        .ok_or_else(|| Refusal::not_found(format!("pod does not exist (\"{pod}_{namespace}\")")))
}
