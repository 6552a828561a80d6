//! Marks pods that the control plane ends.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::error::{Error, gone_is_fine};

/// Sets the phase, and the condition `DisruptionTarget` with a reason and a message (KEP-3329).
pub(crate) async fn mark(
    api: &Api<Pod>,
    pod: &Pod,
    phase: Option<&str>,
    reason: Option<(&str, &str)>,
) -> Result<(), Error> {
    let mut status = serde_json::Map::new();
    if let Some(phase) = phase {
        status.insert("phase".into(), phase.into());
    }
    if let Some((reason, message)) = reason {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": Time(Timestamp::now()), "observedGeneration": pod.metadata.generation,
        });
        status.insert("conditions".into(), json!([condition]));
    }
    if status.is_empty() {
        return Ok(());
    }
    let patch = Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
    gone_is_fine(api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await)?;
    Ok(())
}
