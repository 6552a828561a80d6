//! What the scheduler writes: bindings, conditions, events.

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::pod::PodInfo;

/// Puts the pod onto the node (`POST pods/NAME/binding`), for this incarnation of the pod only.
pub(crate) async fn bind(client: kube::Client, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.key.name().to_owned()),
            namespace: Some(pod.key.namespace().to_owned()),
            uid: Some(pod.uid().to_owned()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods: Api<Pod> = Api::namespaced(client, pod.key.namespace());
    let _status: serde_json::Value =
        pods.create_subresource("binding", pod.key.name(), &PostParams::default(), &binding).await?;
    Ok(())
}

/// Says in the pod's status why it has no node. Writes nothing when it says so already.
pub(crate) async fn refuse(client: kube::Client, pod: &PodInfo, message: &str) -> Result<(), kube::Error> {
    let conditions = pod.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let known = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    if known.is_some_and(|known| known.status == "False" && known.message.as_deref() == Some(message)) {
        return Ok(());
    }
    let since = known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now());
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "observedGeneration": pod.pod.metadata.generation, "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or(now),
    });
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    let pods: Api<Pod> = Api::namespaced(client, pod.key.namespace());
    pods.patch_status(pod.key.name(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}
