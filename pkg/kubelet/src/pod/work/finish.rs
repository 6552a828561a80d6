//! The last steps of a pod.

use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::{Turn, in_turn, observe};
use crate::cri::Error;
use crate::pod::names;
use crate::pod::shared::Shared;
use crate::pod::spec::PodExt as _;
use crate::volume;

/// How long a process that has ended may still be in its cgroup, in steps.
const LEAVING: Duration = Duration::from_millis(25);

/// Unmounts the volumes, removes the pod's directory and its cgroup.
pub(in crate::pod) async fn tear_down(shared: &Shared, uid: &str, turn: &Turn) -> io::Result<()> {
    let (pods, owned) = (shared.pods.clone(), uid.to_owned());
    in_turn(turn, move || volume::tear_down(&pods, &owned)).await.map_err(io::Error::other)??;
    // The last processes may take a moment to leave their cgroup.
    for _ in 0..40 {
        match shared.cgroups.remove_pod(uid).await {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => tokio::time::sleep(LEAVING).await,
            outcome => return outcome,
        }
    }
    shared.cgroups.remove_pod(uid).await
}

/// Tells the API that nothing is left of the pod. A pod that is gone, or that is another one by now, is fine.
pub(in crate::pod) async fn delete(shared: &Shared, pod: &Pod) -> Result<(), kube::Error> {
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), pod.namespace());
    let preconditions = Preconditions { uid: Some(pod.uid().to_owned()), resource_version: None };
    let parameters =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteParams::default() };
    match pods.delete(pod.name(), &parameters).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

/// Removes everything that the runtime has of the pod, and its logs.
pub(in crate::pod) async fn remove(shared: &Shared, pod: &Pod) -> Result<(), Error> {
    let (sandboxes, _) = observe::pod(shared.runtime.as_ref(), pod.uid()).await?;
    for sandbox in sandboxes {
        gone(shared.runtime.stop_sandbox(&sandbox.id).await)?;
        gone(shared.runtime.remove_sandbox(&sandbox.id).await)?;
    }
    let logs = names::pod_logs(&shared.logs, pod);
    match tokio::fs::remove_dir_all(&logs).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!("remove {}: {error}", logs.display()),
        _ => {}
    }
    shared.owners.forget(pod.uid());
    Ok(())
}

fn gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.not_found() => Ok(()),
        outcome => outcome,
    }
}
