//! Reading trees of JSON the way upstream reads its typed objects: what is absent, `null`, of another type or empty is one
//! and the same to the reader.

use std::sync::LazyLock;

use serde_json::Value;

use crate::Object;

static EMPTY: LazyLock<Object> = LazyLock::new(Object::new);

/// Whether a value is what upstream's typed objects hold where nothing was said.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Readers of an object. A path is field names with dots between them, as in `spec.template.spec`; use [`Tree::map`] and
/// `get` for keys that may contain dots themselves, such as labels.
pub trait Tree {
    /// The value at a path; `None` for `null`.
    fn value(&self, path: &str) -> Option<&Value>;

    /// Whether something other than `null` is there: upstream's "pointer is not nil".
    fn has(&self, path: &str) -> bool {
        self.value(path).is_some()
    }

    /// A string; empty when absent.
    fn text(&self, path: &str) -> &str {
        self.value(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// An integer, when there is one.
    fn int(&self, path: &str) -> Option<i64> {
        self.value(path).and_then(Value::as_i64)
    }

    /// An integer; 0 when absent.
    fn number(&self, path: &str) -> i64 {
        self.int(path).unwrap_or_default()
    }

    /// A boolean, when there is one.
    fn flag(&self, path: &str) -> Option<bool> {
        self.value(path).and_then(Value::as_bool)
    }

    /// A boolean; false when absent.
    fn is_true(&self, path: &str) -> bool {
        self.flag(path).unwrap_or_default()
    }

    /// A list; empty when absent.
    fn list(&self, path: &str) -> &[Value] {
        self.value(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The objects in a list.
    fn objects(&self, path: &str) -> impl DoubleEndedIterator<Item = &Object> {
        self.list(path).iter().filter_map(Value::as_object)
    }

    /// The strings in a list.
    fn texts(&self, path: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.list(path).iter().filter_map(Value::as_str)
    }

    /// An object or map; empty when absent.
    fn map(&self, path: &str) -> &Object {
        self.value(path).and_then(Value::as_object).unwrap_or(&EMPTY)
    }

    /// An object, when there is one.
    fn object(&self, path: &str) -> Option<&Object> {
        self.value(path).and_then(Value::as_object)
    }
}

impl Tree for Object {
    fn value(&self, path: &str) -> Option<&Value> {
        let mut here = self;
        let mut rest = path;
        while let Some((field, deeper)) = rest.split_once('.') {
            here = here.get(field)?.as_object()?;
            rest = deeper;
        }
        here.get(rest).filter(|value| !value.is_null())
    }
}

/// The object at a field of `object`, for writing; `None` when there is none.
pub fn object_mut<'a>(object: &'a mut Object, path: &str) -> Option<&'a mut Object> {
    path.split('.').try_fold(object, |here, field| here.get_mut(field)?.as_object_mut())
}

/// The objects in the list at a path, for writing.
pub fn objects_mut<'a>(object: &'a mut Object, path: &str) -> impl Iterator<Item = &'a mut Object> {
    let (parent, field) = path.rsplit_once('.').map_or((None, path), |(parent, field)| (Some(parent), field));
    let parent = match parent {
        Some(parent) => object_mut(object, parent),
        None => Some(object),
    };
    let list = parent.and_then(|parent| parent.get_mut(field)).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Whether two values mean the same: upstream's `equality.Semantic`, for which an absent, an empty and a `null` list, map
/// or string are equal.
#[must_use]
pub fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one.filter(|value| !is_void(value)), other.filter(|value| !is_void(value))) {
        (None, None) => true,
        (Some(Value::Object(one)), Some(Value::Object(other))) => same_objects(one, other),
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(Some(one), Some(other)))
        }
        (one, other) => one == other,
    }
}

/// [`same`] for objects.
#[must_use]
pub fn same_objects(one: &Object, other: &Object) -> bool {
    let missing = |key: &&String| !one.contains_key(*key);
    one.iter().all(|(key, value)| same(Some(value), other.get(key)))
        && other.keys().filter(missing).all(|key| same(None, other.get(key)))
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn emptiness_means_the_same() {
        for (one, other, equal) in [
            (json!({"a": []}), json!({}), true),
            (json!({"a": null, "b": ""}), json!({}), true),
            (json!({"a": {}}), json!({}), false),
            (json!({"a": {"b": []}}), json!({"a": {}}), true),
            (json!({"a": [1, 2]}), json!({"a": [2, 1]}), false),
            (json!({"a": false}), json!({}), false),
            (json!({}), json!({"a": 1}), false),
        ] {
            assert_eq!(same(Some(&one), Some(&other)), equal, "{one} {other}");
        }
    }

    #[test]
    fn readers_take_what_is_there() {
        let Value::Object(pod) = json!({"spec": {"nodeName": "a", "hostNetwork": null, "containers": [{"name": "c"}]}})
        else {
            unreachable!()
        };
        assert_eq!(pod.text("spec.nodeName"), "a");
        assert!(!pod.has("spec.hostNetwork") && !pod.has("status.phase"));
        assert_eq!(pod.objects("spec.containers").map(|container| container.text("name")).collect::<Vec<_>>(), ["c"]);
        assert!(pod.map("spec.nodeSelector").is_empty());
    }
}
