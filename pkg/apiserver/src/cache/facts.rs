//! What selectors ask for, read from stored bytes without building the object.

use std::fmt;

use knarr_api::Object;
use knarr_api::kind::KindRef;
use knarr_api::object::Meta;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What is kept of an object beside its bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Labels, sorted by key.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the kind's selectable fields, in the order of its row.
    fields: Box<[Box<str>]>,
}

impl Facts {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| &**value)
    }

    /// The value of the selectable field of this position; empty when the kind has no such field.
    #[must_use]
    pub fn field(&self, position: usize) -> &str {
        self.fields.get(position).map(|value| &**value).unwrap_or_default()
    }
}

/// Reads the facts of one kind's objects.
#[derive(Debug)]
pub(crate) struct Reader {
    kind: KindRef,
    wanted: Wanted,
}

impl Reader {
    pub(crate) fn new(kind: KindRef) -> Self {
        let mut wanted = Wanted::default();
        wanted.add("metadata.labels");
        for path in kind.selectable_fields.iter().flat_map(|field| &field.paths) {
            wanted.add(path);
        }
        Self { kind, wanted }
    }

    /// Scans stored bytes; everything that is not wanted is skipped, not built.
    pub(crate) fn read(&self, stored: &[u8]) -> Result<Facts, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(stored);
        let Value::Object(picked) = Pick(&self.wanted).deserialize(&mut deserializer)? else {
            return Err(serde_json::Error::custom("not an object"));
        };
        deserializer.end()?;
        Ok(self.facts(&picked))
    }

    /// The facts of a whole object or of what [`Reader::read`] picked from one.
    pub(crate) fn facts(&self, object: &Object) -> Facts {
        let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.as_str().into(), value.as_str()?.into()));
        let mut labels: Vec<_> = labels.into_iter().flatten().filter_map(text).collect();
        labels.sort_unstable();
        let fields = self.kind.selectable_fields.iter().map(|field| field.value(object).as_ref().into()).collect();
        Facts { labels: labels.into(), fields }
    }
}

/// A tree of field names; a leaf wants everything below it.
#[derive(Debug, Default)]
struct Wanted(Vec<(Box<str>, Wanted)>);

impl Wanted {
    fn add(&mut self, path: &str) {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let known = self.0.iter().position(|(name, _)| **name == *first);
        let at = known.unwrap_or_else(|| {
            self.0.push((first.into(), Self::default()));
            self.0.len() - 1
        });
        if let (Some(rest), Some((_, child))) = (rest, self.0.get_mut(at)) {
            child.add(rest);
        }
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.0.iter().find(|(own, _)| **own == *name).map(|(_, child)| child)
    }
}

struct Pick<'a>(&'a Wanted);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.0.is_empty() {
            serde::Deserialize::deserialize(deserializer)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

/// Where a tree is wanted and something else is found, the value is `null`.
impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut picked = Object::new();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if let Some(child) = self.0.child(&key) {
                picked.insert(key.into_owned(), map.next_value_seed(Pick(child))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(picked))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(plural: &str) -> Reader {
        let kind = knarr_api::kinds::by_resource("", "v1", plural).unwrap();
        Reader::new(kind.clone())
    }

    #[test]
    fn labels_and_selectable_fields_are_found() {
        let pods = reader("pods");
        let facts = pods
            .read(
                br#"{"metadata":{"name":"p","labels":{"b":"2","a":"1\n"},"annotations":{"x":"y"}},
                 "spec":{"nodeName":"n1","hostNetwork":true,"containers":[{"name":"c"}]},"status":{"phase":"Running"}}"#,
            )
            .unwrap();
        assert_eq!((facts.label("a"), facts.label("b"), facts.label("c")), (Some("1\n"), Some("2"), None));
        let field = |label: &str| {
            let at = pods.kind.selectable_fields.iter().position(|field| field.label == label).unwrap();
            facts.field(at).to_owned()
        };
        assert_eq!(field("spec.nodeName"), "n1");
        assert_eq!(field("spec.hostNetwork"), "true");
        assert_eq!(field("status.phase"), "Running");
        assert_eq!(field("status.podIP"), "");
    }

    #[test]
    fn odd_shapes_are_no_facts_and_no_panic() {
        for stored in
            [r#"{"metadata":7}"#, r#"{"metadata":{"labels":[1]},"spec":"x","status":[{}]}"#, r#"{"spec":null}"#]
        {
            assert_eq!(reader("pods").read(stored.as_bytes()).unwrap().label("a"), None, "{stored}");
        }
        for stored in ["", "[]", "{", r#"{"metadata":{}} x"#] {
            assert!(reader("pods").read(stored.as_bytes()).is_err(), "{stored}");
        }
    }
}
