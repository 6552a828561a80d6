//! A MetalLB that the user runs himself has precedence.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// Its labels in MetalLB's own manifests, and in its Helm chart.
const LABELS: [(&str, &str); 2] = [("app", "component"), ("app.kubernetes.io/name", "app.kubernetes.io/component")];

/// The pod of that component (`speaker`, `controller`) of a real MetalLB that runs, on `node` if one is given.
pub(super) fn metallb(pods: &[Arc<Pod>], component: &str, node: Option<&str>) -> Option<Arc<Pod>> {
    pods.iter().find(|pod| is(pod, component) && runs(pod, node)).cloned()
}

/// Whether a pod gives addresses in place of the [`super::Allocator`].
pub(super) fn is_controller(pod: &Pod) -> bool {
    is(pod, "controller")
}

fn is(pod: &Pod, component: &str) -> bool {
    let label = |name: &str| pod.labels().get(name).map(String::as_str);
    LABELS.iter().any(|(app, part)| label(app) == Some("metallb") && label(part) == Some(component))
}

fn runs(pod: &Pod, node: Option<&str>) -> bool {
    let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && node.is_none_or(|node| here == Some(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_running_speaker_on_this_node_counts() {
        let pod = |labels: serde_json::Value, node: &str, phase: &str| -> Vec<Arc<Pod>> {
            let pod = json!({
                "metadata": {"name": "p", "labels": labels},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase},
            });
            vec![Arc::new(serde_json::from_value(pod).unwrap())]
        };
        let manifest = || json!({"app": "metallb", "component": "speaker"});
        let chart = json!({"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"});
        assert!(metallb(&pod(manifest(), "n1", "Running"), "speaker", Some("n1")).is_some());
        assert!(metallb(&pod(chart, "n1", "Running"), "speaker", Some("n1")).is_some());
        assert!(metallb(&pod(manifest(), "n2", "Running"), "speaker", None).is_some());
        assert!(metallb(&pod(manifest(), "n2", "Running"), "speaker", Some("n1")).is_none());
        assert!(metallb(&pod(manifest(), "n1", "Pending"), "speaker", Some("n1")).is_none());
        assert!(metallb(&pod(manifest(), "n1", "Running"), "controller", Some("n1")).is_none());
        assert!(metallb(&pod(json!({"app": "web"}), "n1", "Running"), "speaker", None).is_none());
    }
}
