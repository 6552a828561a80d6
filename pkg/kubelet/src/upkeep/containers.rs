//! Dead containers: the newest of each name is kept for its logs and its status, and the one that runs. The others go
//! together with their logs.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-garbage-collection>

use std::collections::HashMap;
use std::path::Path;

use crate::cri::{Error, Runtime, api};
use crate::pod::names;

/// Upstream's `--maximum-dead-containers-per-container`.
const KEPT: usize = 1;
/// A container that was made less than this ago stays, whatever it is.
const YOUNG: i64 = 60_000_000_000;

/// Removes what is over.
///
/// # Errors
/// When the runtime does not answer.
pub(super) async fn collect(runtime: &dyn Runtime, logs: &Path) -> Result<(), Error> {
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    for container in surplus(runtime.list_containers(&[]).await?, now) {
        match runtime.remove_container(&container.id).await {
            Err(error) if !error.not_found() => return Err(error),
            _ => {}
        }
        if let Some(log) = names::container_log(logs, &container) {
            super::logs::remove(&log);
        }
    }
    let (sandboxes, containers) = tokio::try_join!(runtime.list_sandboxes(&[]), runtime.list_containers(&[]))?;
    for sandbox in spent(sandboxes, &containers) {
        runtime.remove_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

/// Sandboxes that have ended, hold nothing and are not the newest of their pod.
fn spent(sandboxes: Vec<api::PodSandbox>, containers: &[api::Container]) -> Vec<api::PodSandbox> {
    let mut by_pod: HashMap<String, Vec<api::PodSandbox>> = HashMap::new();
    for sandbox in sandboxes {
        let uid = sandbox.labels.get(names::POD_UID).cloned().unwrap_or_default();
        by_pod.entry(uid).or_default().push(sandbox);
    }
    let mut spent = Vec::new();
    for mut sandboxes in by_pod.into_values() {
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
        let empty = |sandbox: &api::PodSandbox| !containers.iter().any(|one| one.pod_sandbox_id == sandbox.id);
        let ended = |sandbox: &api::PodSandbox| sandbox.state() == api::PodSandboxState::SandboxNotready;
        spent.extend(sandboxes.into_iter().skip(1).filter(|sandbox| empty(sandbox) && ended(sandbox)));
    }
    spent
}

fn surplus(containers: Vec<api::Container>, now: i64) -> Vec<api::Container> {
    let mut by_name: HashMap<(String, String), Vec<api::Container>> = HashMap::new();
    for container in containers {
        let name = container.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        let uid = container.labels.get(names::POD_UID).cloned().unwrap_or_default();
        if container.state() == api::ContainerState::ContainerExited {
            by_name.entry((uid, name)).or_default().push(container);
        }
    }
    let mut surplus = Vec::new();
    for mut dead in by_name.into_values() {
        dead.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        surplus
            .extend(dead.into_iter().skip(KEPT).filter(|container| now.saturating_sub(container.created_at) > YOUNG));
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_empty_sandboxes_go() {
        let sandbox = |id: &str, created_at: i64, state: api::PodSandboxState| api::PodSandbox {
            id: id.into(),
            created_at,
            state: state.into(),
            ..Default::default()
        };
        let (ended, ready) = (api::PodSandboxState::SandboxNotready, api::PodSandboxState::SandboxReady);
        let sandboxes =
            vec![sandbox("1", 1, ended), sandbox("2", 2, ended), sandbox("3", 3, ready), sandbox("4", 4, ended)];
        let used = api::Container { pod_sandbox_id: "2".into(), ..Default::default() };
        let ids: Vec<String> = spent(sandboxes, &[used]).into_iter().map(|sandbox| sandbox.id).collect();
        assert_eq!(ids, ["1"]);
    }

    #[test]
    fn the_newest_dead_one_of_each_name_stays() {
        let container = |id: &str, name: &str, created_at: i64, state: api::ContainerState| api::Container {
            id: id.into(),
            metadata: Some(api::ContainerMetadata { name: name.into(), attempt: 0 }),
            created_at,
            state: state.into(),
            ..Default::default()
        };
        let (dead, alive) = (api::ContainerState::ContainerExited, api::ContainerState::ContainerRunning);
        let containers = vec![
            container("a1", "a", 1, dead),
            container("a2", "a", 2, dead),
            container("a3", "a", 3, alive),
            container("b1", "b", 1, dead),
            container("a0", "a", YOUNG * 2, dead),
        ];
        let mut ids: Vec<String> =
            surplus(containers, YOUNG * 2 + 5).into_iter().map(|container| container.id).collect();
        ids.sort();
        assert_eq!(ids, ["a1", "a2"]);
    }
}
