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

/// What the runtime calls the end of a container that took more memory than it may.
const OUT_OF_MEMORY: &str = "OOMKilled";
/// The exit code of a container that SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// A container of which it is known that it has ended. The event of its end can be ahead of the runtime's own books by
/// some milliseconds, and that of its lack of memory can come after it.
pub(in crate::pod) async fn ended(runtime: &dyn Runtime, id: &str, sandbox: &str) -> Result<Instance, Error> {
    let mut last = one(runtime, id, sandbox).await?;
    for delay in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] {
        if last.stage == Stage::Exited {
            break;
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        last = one(runtime, id, sandbox).await?;
    }
    for delay in [5, 20, 50, 100] {
        if last.exit_code != KILLED || last.reason == OUT_OF_MEMORY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        last = one(runtime, id, sandbox).await?;
    }
    Ok(last)
}

/// A container as it is now.
pub(in crate::pod) async fn one(runtime: &dyn Runtime, id: &str, sandbox: &str) -> Result<Instance, Error> {
    let status: api::ContainerStatus = runtime.container_status(id).await?;
    Ok(names::instance(&status, sandbox))
}
