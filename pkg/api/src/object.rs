//! Objects as trees of JSON, and the form in which they are stored.
//!
//! A stored value is the object's JSON in its storage version, without `apiVersion`, `kind` and
//! `metadata.resourceVersion`, and with `metadata` first. The bytes of an answer are then four segments, none of which is
//! ever encoded twice:
//!
//! ```text
//! stored:  {"metadata":{"name":"a","uid":"..."},"spec":{...}}
//! served:  {"kind":"Pod","apiVersion":"v1",  "metadata":{"resourceVersion":"   42   ",  "name":"a","uid":"..."},"spec":{...}}
//!          typemeta                          head                             revision  tail
//! ```

use serde_json::Value;

/// An object: a tree of JSON.
pub type Object = serde_json::Map<String, Value>;

/// What every stored value starts with; the tail of an answer is what follows it.
pub const STORED_PREFIX: &[u8] = br#"{"metadata":{"#;

/// What stands between the type and the revision in an answer.
pub const SERVED_HEAD: &[u8] = br#""metadata":{"resourceVersion":""#;

/// What stands between the revision and the tail in an answer.
pub const SERVED_NECK: &[u8] = br#"","#;

/// Why bytes are not a stored object.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON.
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but metadata is missing, empty or not first.
    #[error("does not start with metadata")]
    Metadata,
}

/// Encodes an object for the store: see the module's documentation. The object must have metadata with at least one field
/// other than `resourceVersion`, which every named object has.
///
/// # Errors
/// When metadata is missing or empty.
pub fn encode(object: &Object) -> Result<Vec<u8>, Malformed> {
    let metadata = object.get("metadata").and_then(Value::as_object).ok_or(Malformed::Metadata)?;
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(STORED_PREFIX);
    let mut first = true;
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
        write_member(&mut bytes, &mut first, key, value)?;
    }
    if first {
        return Err(Malformed::Metadata);
    }
    bytes.push(b'}');
    first = false;
    for (key, value) in object.iter().filter(|(key, _)| !matches!(key.as_str(), "metadata" | "kind" | "apiVersion")) {
        write_member(&mut bytes, &mut first, key, value)?;
    }
    bytes.push(b'}');
    Ok(bytes)
}

fn write_member(bytes: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) -> Result<(), serde_json::Error> {
    if !std::mem::take(first) {
        bytes.push(b',');
    }
    serde_json::to_writer(&mut *bytes, key)?;
    bytes.push(b':');
    serde_json::to_writer(&mut *bytes, value)
}

/// How deep lists and objects may be nested in an object. What is stored must be readable again, in a list and in an event
/// too, and readers refuse more than 127 levels to save their stacks.
pub const MAX_DEPTH: usize = 100;

/// Whether lists and objects are nested in each other more than `most` times.
#[must_use]
pub fn is_deeper(value: &Value, most: usize) -> bool {
    let inside = |value: &Value| is_deeper(value, most - 1);
    match value {
        Value::Array(items) => most == 0 || items.iter().any(inside),
        Value::Object(fields) => most == 0 || fields.values().any(inside),
        _ => false,
    }
}

/// Decodes a stored value and gives it back its revision and type.
///
/// # Errors
/// When the bytes are not a stored object.
pub fn decode(stored: &[u8], api_version: &str, kind: &str, revision: u64) -> Result<Object, Malformed> {
    let mut object: Object = serde_json::from_slice(stored)?;
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or(Malformed::Metadata)?;
    metadata.insert("resourceVersion".into(), revision.to_string().into());
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(object)
}

/// The part of a stored value that an answer shares.
///
/// # Errors
/// When the value does not have the stored form.
pub fn tail(stored: &[u8]) -> Result<&[u8], Malformed> {
    stored.strip_prefix(STORED_PREFIX).ok_or(Malformed::Metadata)
}

/// Reading the metadata of an object without caring whether it is complete.
pub trait Meta {
    /// A string in metadata; empty when absent.
    fn meta(&self, field: &str) -> &str;
    /// `metadata.name`.
    fn name(&self) -> &str {
        self.meta("name")
    }
    /// `metadata.namespace`.
    fn namespace(&self) -> &str {
        self.meta("namespace")
    }
    /// `metadata.uid`.
    fn uid(&self) -> &str {
        self.meta("uid")
    }
    /// The value at a path of field names, as in `at(&["spec", "nodeName"])`.
    fn at(&self, path: &[&str]) -> Option<&Value>;
    /// The string at a path; empty when absent.
    fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }
    /// Metadata, made when absent or of a wrong type.
    fn meta_mut(&mut self) -> &mut Object;
    /// The object at a top-level field, made when absent or of a wrong type.
    fn section(&mut self, field: &str) -> &mut Object;
}

impl Meta for Object {
    fn meta(&self, field: &str) -> &str {
        self.str_at(&["metadata", field])
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (last, parents) = path.split_last()?;
        let mut here = self;
        for parent in parents {
            here = here.get(*parent)?.as_object()?;
        }
        here.get(*last)
    }

    fn meta_mut(&mut self) -> &mut Object {
        self.section("metadata")
    }

    fn section(&mut self, field: &str) -> &mut Object {
        object_in(self.entry(field).or_insert(Value::Null))
    }
}

/// The object in `value`, which is made one when it is something else.
pub fn object_in(value: &mut Value) -> &mut Object {
    if !value.is_object() {
        *value = Value::Object(Object::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was just made an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_form_has_metadata_first_and_no_revision() {
        let Value::Object(object) = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
            "metadata": {"name": "x", "resourceVersion": "7", "namespace": "default"},
        }) else {
            unreachable!()
        };
        let stored = encode(&object).unwrap();
        assert_eq!(
            String::from_utf8(stored.clone()).unwrap(),
            r#"{"metadata":{"name":"x","namespace":"default"},"data":{"a":"1"}}"#
        );
        assert_eq!(tail(&stored).unwrap(), br#""name":"x","namespace":"default"},"data":{"a":"1"}}"#);
        let read = decode(&stored, "v1", "ConfigMap", 7).unwrap();
        assert_eq!(read, object);
    }

    #[test]
    fn an_object_without_metadata_is_refused() {
        assert!(encode(&Object::new()).is_err());
        let Value::Object(bare) = json!({"metadata": {"resourceVersion": "1"}}) else { unreachable!() };
        assert!(encode(&bare).is_err());
    }
}
