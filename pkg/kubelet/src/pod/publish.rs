//! Writing a pod's status.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::spec::PodExt as _;

/// What became of a patch.
#[derive(Debug)]
pub(super) enum Patched {
    /// The API shows this now.
    Now(Box<PodStatus>),
    /// There is no such pod any more.
    Gone,
    Failed(Box<kube::Error>),
}

/// Sends what differs between `before` and `after` as a strategic merge patch, so that conditions of others stay, and for
/// this very pod only.
pub(super) async fn patch(client: kube::Client, pod: &Pod, before: PodStatus, after: PodStatus) -> Patched {
    let pods: Api<Pod> = Api::namespaced(client, pod.namespace());
    let body = json!({"metadata": {"uid": pod.uid()}, "status": difference(&value(&before), &value(&after))});
    match pods.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(body)).await {
        Ok(_) => Patched::Now(Box::new(after)),
        // The name belongs to another pod, or to none.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Patched::Gone,
        Err(error) => Patched::Failed(Box::new(error)),
    }
}

fn value(status: &PodStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// The fields of `after` that differ from `before`; those that are gone as null. Lists that a strategic merge would merge
/// by key are replaced as a whole, except for conditions, of which ours are all there.
fn difference(before: &Value, after: &Value) -> Value {
    let mut patch = serde_json::Map::new();
    let empty = serde_json::Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    for (field, value) in new {
        if old.get(field) == Some(value) {
            continue;
        }
        let value = match (field.as_str(), value) {
            ("podIPs" | "hostIPs", Value::Array(items)) => {
                let mut items = items.clone();
                items.push(json!({"$patch": "replace"}));
                Value::Array(items)
            }
            _ => value.clone(),
        };
        patch.insert(field.clone(), value);
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_sent() {
        let before = json!({"phase": "Pending", "qosClass": "BestEffort", "reason": "X"});
        let after = json!({"phase": "Running", "qosClass": "BestEffort", "podIPs": [{"ip": "10.42.0.5"}]});
        let expect =
            json!({"phase": "Running", "reason": null, "podIPs": [{"ip": "10.42.0.5"}, {"$patch": "replace"}]});
        assert_eq!(difference(&before, &after), expect);
    }
}
