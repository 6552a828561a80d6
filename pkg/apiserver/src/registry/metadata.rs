//! What the registry does to `metadata` of every object.

use knarr_api::Object;
use knarr_api::object::Meta;

/// Gives an object its UID and creation time, and takes away what only the server may set.
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
