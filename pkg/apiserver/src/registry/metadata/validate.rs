//! Validation of `metadata`: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use knarr_api::Object;
use knarr_api::field::{Errors, Path};
use knarr_api::object::Meta;
use serde_json::Value;

use crate::registry::Resource;

/// All annotations together, keys and values.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Errors of an object's metadata on its own.
pub(in crate::registry) fn validate(resource: &Resource, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::root("metadata");
    if object.name().is_empty() {
        errors.required(path.child("name"), "name or generateName is required");
    }
    let _ = (resource, MAX_ANNOTATIONS);
    errors
}

/// Errors of a change of an object's metadata.
pub(in crate::registry) fn validate_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::root("metadata");
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let value = new.at(&["metadata", field]).cloned().unwrap_or(Value::Null);
        if old.at(&["metadata", field]).is_some_and(|old| *old != value) {
            errors.invalid(path.child(field), value, "field is immutable");
        }
    }
    errors
}
