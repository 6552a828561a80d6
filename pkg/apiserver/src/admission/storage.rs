//! DefaultStorageClass, StorageObjectInUseProtection, PersistentVolumeClaimResize.

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::quantity::Quantity;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use serde_json::Value;

use super::lookup::default_class;
use super::service_account::push;
use super::{Admission, AdmissionRequest, Operation};

const CLAIMS: &str = "persistentvolumeclaims";
const CLASSES: (&str, &str) = ("storage.k8s.io", "storageclasses");
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim that names no class gets the default one.
#[derive(Debug)]
pub(super) struct DefaultStorageClass;

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        let wants = |claim: &Object| !claim.has("spec.storageClassName") && beta_class(claim).is_none();
        if !request.creates("", CLAIMS) || !request.object.as_deref().is_some_and(wants) {
            return Ok(());
        }
        let classes = request.all(CLASSES.0, CLASSES.1, "").await?;
        if let (Some(class), Some(claim)) = (default_class(&classes, &DEFAULT), request.object.as_deref_mut()) {
            claim.section("spec").insert("storageClassName".into(), class.into());
        }
        Ok(())
    }
}

fn beta_class(claim: &Object) -> Option<&str> {
    claim.map("metadata.annotations").get(BETA_CLASS).and_then(Value::as_str)
}

/// What is in use is kept by a finalizer until it no longer is.
#[derive(Debug)]
pub(super) struct StorageObjectInUseProtection;

const FINALIZERS: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", CLAIMS, "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        let row = FINALIZERS.iter().find(|(group, plural, _)| request.creates(group, plural));
        if let (Some((_, _, finalizer)), Some(object)) = (row, request.object.as_deref_mut())
            && !object.texts("metadata.finalizers").any(|present| present == *finalizer)
        {
            push(object.meta_mut(), "finalizers", (*finalizer).into());
        }
        Ok(())
    }
}

/// A claim grows only when it is bound and its class allows it.
#[derive(Debug)]
pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let updates = request.operation == Operation::Update && request.is("", CLAIMS);
        let claims = request.object.as_deref().zip(request.old).filter(|_| updates);
        let Some((new, old)) = claims.filter(|(new, old)| size(new) > size(old)) else { return Ok(()) };
        if old.text("status.phase") != "Bound" {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let name = class(new);
        let allowed = !name.is_empty()
            && name == class(old)
            && request
                .find(CLASSES.0, CLASSES.1, "", name)
                .await?
                .is_some_and(|class| class.is_true("allowVolumeExpansion"));
        if allowed {
            return Ok(());
        }
        Err(request.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize",
        ))
    }
}

fn size(claim: &Object) -> Option<Quantity> {
    claim.text("spec.resources.requests.storage").parse().ok()
}

fn class(claim: &Object) -> &str {
    beta_class(claim).unwrap_or_else(|| claim.text("spec.storageClassName"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn the_old_annotation_counts_first() {
        let claim =
            object(json!({"metadata": {"annotations": {BETA_CLASS: "old"}}, "spec": {"storageClassName": "new"}}));
        assert_eq!(class(&claim), "old");
        assert_eq!(class(&object(json!({"spec": {"storageClassName": "new"}}))), "new");
    }

    #[test]
    fn sizes_are_compared_as_quantities() {
        let claim = |size: &str| object(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
        assert!(size(&claim("1Gi")) > size(&claim("900Mi")));
        assert!(size(&claim("1024Mi")) == size(&claim("1Gi")));
    }
}
