//! What the registry does to `metadata` of every object.

use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use rand::Rng;
use serde_json::Value;

use super::Write;

/// Gives a new object its UID and creation time, and takes away what only the server may set.
pub(crate) fn fill_system_fields(object: &mut Object) {
    let metadata = object.meta_mut();
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), now().into());
}

/// Now, as RFC 3339 with seconds.
pub(crate) fn now() -> String {
    timestamp(jiff::Timestamp::now())
}

/// A time as RFC 3339 with seconds.
pub(crate) fn timestamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Names are at most this long, the generated part included: `k8s.io/apiserver/pkg/storage/names`.
const MAX_GENERATED: usize = 63;

/// Letters and digits that make no words and are not mistaken for each other: `k8s.io/apimachinery/pkg/util/rand`.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Names an object that has a `generateName` and no name.
pub(crate) fn generate_name(object: &mut Object) {
    const SUFFIX: usize = 5;
    let base = object.meta("generateName");
    if base.is_empty() || !object.name().is_empty() {
        return;
    }
    let mut name: String = base.chars().take(MAX_GENERATED - SUFFIX).collect();
    let mut random = rand::rng();
    name.extend(
        (0..SUFFIX).filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())).map(|c| char::from(*c))),
    );
    object.meta_mut().insert("name".into(), name.into());
}

/// Metadata without members is no metadata: `omitempty` of `k8s.io/apimachinery` `meta/v1.ObjectMeta`.
pub(super) fn omit_empty(object: &mut Object) {
    const COLLECTIONS: [&str; 5] = ["labels", "annotations", "finalizers", "ownerReferences", "managedFields"];
    let is_empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    object.meta_mut().retain(|field, value| !(COLLECTIONS.contains(&field.as_str()) && is_empty(value)));
}

/// The namespace of the path goes into the object; one in the body must be the same.
pub(super) fn set_namespace(write: &Write<'_>, object: &mut Object) -> Result<()> {
    let wanted = if write.resource.kind.namespaced { write.namespace } else { "" };
    match object.namespace() {
        own if own == wanted => {}
        "" => {
            object.meta_mut().insert("namespace".into(), wanted.into());
        }
        // Clients without a schema send it for cluster-scoped objects.
        "default" if wanted.is_empty() => {
            object.meta_mut().remove("namespace");
        }
        _ => {
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(text));
        }
    }
    Ok(())
}

/// What no update changes: the UID (when none is given), the creation time, and a deletion, once it has begun. Nor can an
/// update begin one.
pub(super) fn keep(new: &mut Object, old: &Object) {
    let is_deleting = !old.meta("deletionTimestamp").is_empty();
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "uid"] {
        let given = new.at(&["metadata", field]).is_some_and(|value| !matches!(value.as_str(), Some("")));
        let may_differ = field == "uid" || (field == "deletionGracePeriodSeconds" && is_deleting);
        if given && may_differ {
            continue;
        }
        match old.at(&["metadata", field]) {
            Some(value) => new.meta_mut().insert(field.into(), value.clone()),
            None => new.meta_mut().remove(field),
        };
    }
}

#[cfg(test)]
mod tests;
