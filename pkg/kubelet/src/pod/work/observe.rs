//! Asking the runtime what it has of a pod.

use std::time::Duration;

use crate::cri::{Error, Runtime, api};
use crate::pod::names;
use crate::pod::state::{Instance, Sandbox, Stage};

/// All sandboxes and containers of a pod.
pub(in crate::pod) async fn pod(runtime: &dyn Runtime, uid: &str) -> Result<(Vec<Sandbox>, Vec<Instance>), Error> {
    let label = [(names::POD_UID, uid)];
    let (sandboxes, containers) = tokio::try_join!(runtime.list_sandboxes(&label), runtime.list_containers(&label))?;
    let mut found = (Vec::new(), Vec::new());
    for listed in sandboxes {
        found.0.extend(present(runtime.sandbox_status(&listed.id).await)?.map(|status| names::sandbox(&status)));
    }
    for listed in containers {
        let status = present(runtime.container_status(&listed.id).await)?;
        found.1.extend(status.map(|status| names::instance(&status, &listed.pod_sandbox_id)));
    }
    Ok(found)
}

/// What vanishes between listing and asking is no error.
fn present<T>(status: Result<T, Error>) -> Result<Option<T>, Error> {
    match status {
        Err(error) if error.not_found() => Ok(None),
        status => status.map(Some),
    }
}

/// A container of which it is known that it has ended. The event of its end can be ahead of the runtime's own books by
/// some milliseconds.
pub(in crate::pod) async fn ended(runtime: &dyn Runtime, id: &str, sandbox: &str) -> Result<Instance, Error> {
    let mut last = None;
    for delay in [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] {
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let instance = one(runtime, id, sandbox).await?;
        if instance.stage == Stage::Exited {
            return Ok(instance);
        }
        last = Some(instance);
    }
    match last {
        Some(instance) => Ok(instance),
        None => one(runtime, id, sandbox).await,
    }
}

/// A container as it is now.
pub(in crate::pod) async fn one(runtime: &dyn Runtime, id: &str, sandbox: &str) -> Result<Instance, Error> {
    let status: api::ContainerStatus = runtime.container_status(id).await?;
    Ok(names::instance(&status, sandbox))
}
