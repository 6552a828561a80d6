//! DefaultIngressClass: an Ingress that names no class gets the default one.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::Tree;

use super::lookup::default_class;
use super::{Admission, AdmissionRequest};

const GROUP: &str = "networking.k8s.io";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// See the module.
#[derive(Debug)]
pub(super) struct DefaultIngressClass;

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        if !request.creates(GROUP, "ingresses") || request.object.as_deref().is_none_or(has_class) {
            return Ok(());
        }
        let classes = request.all(GROUP, "ingressclasses", "").await?;
        if let (Some(class), Some(ingress)) = (default_class(&classes, &[DEFAULT]), request.object.as_deref_mut()) {
            ingress.section("spec").insert("ingressClassName".into(), class.into());
        }
        Ok(())
    }
}

fn has_class(ingress: &Object) -> bool {
    ingress.has("spec.ingressClassName") || ingress.map("metadata.annotations").contains_key(OLD_ANNOTATION)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn the_old_annotation_is_a_class_too() {
        for (ingress, has) in [
            (json!({}), false),
            (json!({"spec": {"ingressClassName": "nginx"}}), true),
            (json!({"metadata": {"annotations": {OLD_ANNOTATION: "nginx"}}}), true),
        ] {
            assert_eq!(has_class(&object(ingress.clone())), has, "{ingress}");
        }
    }
}
