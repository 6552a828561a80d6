//! RuntimeClass: overhead and placement of pods that name one:
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/>.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::{Tree, same};
use serde_json::Value;

use super::{Admission, AdmissionRequest, tolerations};

/// See the module.
#[derive(Debug)]
pub(super) struct RuntimeClass;

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        let class = class(request).await?;
        let applied = match (request.object.as_deref_mut(), class) {
            (Some(pod), Some(class)) => apply(pod, &class),
            _ => Ok(()),
        };
        applied.map_err(|why| request.forbidden(why))
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let class = class(request).await?;
        match request.object.as_deref().filter(|_| request.creates("", "pods")) {
            Some(pod) => check(pod, class.as_ref()).map_err(|why| request.forbidden(why)),
            None => Ok(()),
        }
    }
}

/// The class that a new pod names.
async fn class(request: &AdmissionRequest<'_>) -> Result<Option<Object>> {
    let pod = request.object.as_deref().filter(|_| request.creates("", "pods"));
    let Some(name) = pod.map(|pod| pod.text("spec.runtimeClassName")).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let found = request.find("node.k8s.io", "runtimeclasses", "", name).await?;
    let missing = || request.forbidden(format!("pod rejected: RuntimeClass {name:?} not found"));
    found.map(Some).ok_or_else(missing)
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn apply(pod: &mut Object, class: &Object) -> std::result::Result<(), String> {
    if class.has("overhead") {
        let overhead = class.value("overhead.podFixed");
        if !pod.map("spec.overhead").is_empty() && !same(overhead, pod.value("spec.overhead")) {
            return Err(MISMATCH.into());
        }
        if let Some(overhead) = overhead {
            pod.section("spec").insert("overhead".into(), overhead.clone());
        }
    }
    for (key, wanted) in class.map("scheduling.nodeSelector") {
        let given = pod.map("spec.nodeSelector").get(key).filter(|given| *given != wanted);
        if let Some(given) = given {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(wanted),
                text(given)
            ));
        }
        let selector = pod.section("spec").entry("nodeSelector").or_insert(Value::Null);
        knarr_api::object::object_in(selector).insert(key.clone(), wanted.clone());
    }
    let added = class.list("scheduling.tolerations");
    if !added.is_empty() {
        let merged = tolerations::merge(pod.list("spec.tolerations"), added);
        pod.section("spec").insert("tolerations".into(), merged.into());
    }
    Ok(())
}

fn check(pod: &Object, class: Option<&Object>) -> std::result::Result<(), &'static str> {
    match class.filter(|class| class.has("overhead")) {
        Some(class) if !same(class.value("overhead.podFixed"), pod.value("spec.overhead")) => Err(MISMATCH),
        None if pod.has("spec.overhead") => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn a_class_adds_overhead_and_placement() {
        let class = object(json!({
            "overhead": {"podFixed": {"memory": "64Mi"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
        }));
        let mut pod = object(json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
        assert_eq!(apply(&mut pod, &class), Ok(()));
        assert_eq!(
            pod["spec"],
            json!({
                "nodeSelector": {"disk": "ssd", "vm": "yes"}, "overhead": {"memory": "64Mi"},
                "tolerations": [{"key": "vm", "operator": "Exists"}],
            })
        );
        assert_eq!(check(&pod, Some(&class)), Ok(()));
        assert!(check(&pod, None).unwrap_err().contains("without corresponding RuntimeClass"));
        let mut other = object(json!({"spec": {"overhead": {"memory": "1Mi"}}}));
        assert_eq!(apply(&mut other, &class), Err(MISMATCH.into()));
        let mut other = object(json!({"spec": {"nodeSelector": {"vm": "no"}}}));
        let conflict = "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no";
        assert_eq!(apply(&mut other, &class), Err(conflict.into()));
    }
}
