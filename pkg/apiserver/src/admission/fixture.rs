//! Objects for tests.

use knarr_api::Object;
use serde_json::Value;

/// The object that a JSON literal is.
pub(crate) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}
