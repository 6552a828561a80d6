//! Events about a pod or one of its containers.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_client::Recorder;
use knarr_client::events::{Type, reference};

use super::spec::{PodExt as _, Role};

/// Tells what happens to one object. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Report {
    recorder: Recorder,
    object: ObjectReference,
}

impl Report {
    pub(crate) fn of(recorder: &Recorder, pod: &Pod) -> Self {
        Self { recorder: recorder.clone(), object: reference(pod) }
    }

    /// About a container: upstream names it by its place in the specification.
    pub(crate) fn container(&self, pod: &Pod, name: &str) -> Self {
        let field = match pod.part(name).map(|part| part.role) {
            Some(Role::Init | Role::Sidecar) => "initContainers",
            Some(Role::Ephemeral) => "ephemeralContainers",
            _ => "containers",
        };
        let object = ObjectReference { field_path: Some(format!("spec.{field}{{{name}}}")), ..self.object.clone() };
        Self { recorder: self.recorder.clone(), object }
    }

    pub(crate) fn normal(&self, reason: &str, message: &str) {
        self.recorder.event_on(self.object.clone(), Type::Normal, reason, message);
    }

    pub(crate) fn warning(&self, reason: &str, message: &str) {
        self.recorder.event_on(self.object.clone(), Type::Warning, reason, message);
    }
}
