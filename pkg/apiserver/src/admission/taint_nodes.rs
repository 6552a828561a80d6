//! TaintNodesByCondition: a new node takes no pods before the node life-cycle controller has found it ready.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use serde_json::json;

use super::service_account::push;
use super::{Admission, AdmissionRequest};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// See the module.
#[derive(Debug)]
pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        if request.creates("", "nodes")
            && let Some(node) = request.object.as_deref_mut()
        {
            taint(node);
        }
        Ok(())
    }
}

fn taint(node: &mut Object) {
    let is_ours = |taint: &Object| (taint.text("key"), taint.text("effect")) == (NOT_READY, "NoSchedule");
    if !node.objects("spec.taints").any(is_ours) {
        push(node.section("spec"), "taints", json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_is_there_once() {
        let mut node = Object::new();
        taint(&mut node);
        taint(&mut node);
        assert_eq!(node["spec"]["taints"], json!([{"key": NOT_READY, "effect": "NoSchedule"}]));
    }
}
