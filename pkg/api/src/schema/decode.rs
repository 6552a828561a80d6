//! Reading an object of a known type, in one pass over the text or over a tree.
//!
//! What Go's decoding of upstream's types does happens here too: values of a wrong type are errors with Go's text, nulls
//! vanish, unknown fields are dropped and reported, and quantities, times and bytes are written the one way in which
//! upstream would write them back. Fields that it leaves out when they are zero are dropped: `nodeSelector: {}` is no change
//! of a pod template that has none.

use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::scalar::{self, Refused};
use super::table::{Shape, Type};
use crate::Object;
use crate::tree::is_zero;

/// More strict errors than this are not collected, as upstream.
const MOST_STRICT_ERRORS: usize = 100;

/// What was read.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    /// The object, without its unknown fields and nulls.
    pub object: Object,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`: warnings, or with `fieldValidation=Strict` an error.
    pub strict: Vec<String>,
}

/// Why nothing was read. The texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Syntax(String),
    /// A value is of the wrong type.
    #[error("{0}")]
    Type(String),
}

/// Reads an object of type `ty` from JSON.
///
/// # Errors
/// When it is not JSON, or a value is of the wrong type: the first one in the order of the text.
pub fn from_slice(bytes: &[u8], ty: Type<'_>) -> Result<Decoded, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let decoded = run(&mut json, ty)?;
    json.end().map_err(|error| Error::Syntax(error.to_string()))?;
    Ok(decoded)
}

/// Reads an object of type `ty` from a tree, such as one that was patched or came as YAML.
///
/// # Errors
/// When a value is of the wrong type.
pub fn from_value(value: Value, ty: Type<'_>) -> Result<Decoded, Error> {
    run(value, ty)
}

fn run<'de, D: Deserializer<'de>>(input: D, ty: Type<'_>) -> Result<Decoded, Error> {
    let mut cx = Cx { root: ty, owner: ty, path: String::new(), fields: Vec::new(), strict: Vec::new(), error: None };
    let value = Node { ty, cx: &mut cx }.deserialize(input).map_err(|error| Error::Syntax(error.to_string()))?;
    match (cx.error, value) {
        (Some(error), _) => Err(Error::Type(error)),
        (None, Some(Value::Object(object))) => Ok(Decoded { object, strict: cx.strict }),
        (None, _) => Ok(Decoded { strict: cx.strict, ..Decoded::default() }),
    }
}

/// The text of a strict decoding error; `None` when there is nothing to complain about.
#[must_use]
pub fn strict_error(strict: &[String]) -> Option<String> {
    (!strict.is_empty()).then(|| format!("strict decoding error: {}", strict.join(", ")))
}

/// Where the reading is, and what it has found.
struct Cx<'t> {
    root: Type<'t>,
    /// The struct whose fields are being read.
    owner: Type<'t>,
    /// `spec.containers[0]`: where strict errors are.
    path: String,
    /// Names of the fields only: where Go says that type errors are.
    fields: Vec<&'t str>,
    strict: Vec<String>,
    /// The first type error; reading goes on, as it does in Go.
    error: Option<String>,
}

impl<'t> Cx<'t> {
    fn refuse(&mut self, ty: Type<'t>, refused: Refused) {
        let (found, wanted) = match refused {
            Refused::Text(text) => {
                self.error.get_or_insert(text);
                return;
            }
            Refused::Type(found) if self.fields.is_empty() => (found, go_type(self.root)),
            Refused::Type(found) => (found, go_type(ty)),
            Refused::Inner(found, wanted) => (found, wanted.to_owned()),
        };
        let place = if self.fields.is_empty() {
            "value".to_owned()
        } else {
            format!("struct field {}.{}", last(self.owner.name(), 1), self.fields.join("."))
        };
        let text = format!("json: cannot unmarshal {found} into Go {place} of type {wanted}");
        self.error.get_or_insert(text);
    }

    fn report(&mut self, what: &str, key: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        let text = format!("{what} field \"{}{dot}{key}\"", self.path);
        if self.strict.len() < MOST_STRICT_ERRORS && !self.strict.contains(&text) {
            self.strict.push(text);
        }
    }

    /// Reads with `key` appended to the path.
    fn below<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let value = read(self);
        self.path.truncate(length);
        value
    }
}

/// How Go calls a type. Named strings are just strings here: OpenAPI does not know their names.
fn go_type(ty: Type<'_>) -> String {
    match ty.shape() {
        Shape::Struct { .. } => last(ty.name(), 2).to_owned(),
        Shape::List { .. } => format!("[]{}", ty.item().map(go_type).unwrap_or_default()),
        Shape::Map { .. } => format!("map[string]{}", ty.item().map(go_type).unwrap_or_default()),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::Int32 => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Double => "float64".into(),
        Shape::Bool => "bool".into(),
        _ => "string".into(),
    }
}

/// The last `count` parts of a dotted name.
fn last(name: &str, count: usize) -> &str {
    let start = name.rmatch_indices('.').nth(count - 1).map_or(0, |(dot, _)| dot + 1);
    name.get(start..).unwrap_or(name)
}

/// One value to be read. Its result is `None` for null and for what was refused.
struct Node<'a, 't> {
    ty: Type<'t>,
    cx: &'a mut Cx<'t>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        match self.ty.shape() {
            Shape::Any => {
                serde::Deserialize::deserialize(input).map(|value: Value| Some(value).filter(|v| !v.is_null()))
            }
            _ => input.deserialize_any(self),
        }
    }
}

impl Node<'_, '_> {
    #[allow(clippy::unnecessary_wraps, reason = "the form that every visit has")]
    fn scalar<E>(self, value: Value) -> Result<Option<Value>, E> {
        match scalar::read(self.ty.shape(), value) {
            Ok(value) => Ok(Some(value)),
            Err(refused) => {
                self.cx.refuse(self.ty, refused);
                Ok(None)
            }
        }
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&go_type(self.ty))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        self.scalar(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        self.scalar(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        self.scalar(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        self.scalar(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        self.scalar(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        self.scalar(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Self::Value, A::Error> {
        let (Shape::List { .. }, Some(item)) = (self.ty.shape(), self.ty.item()) else {
            while input.next_element::<IgnoredAny>()?.is_some() {}
            self.cx.refuse(self.ty, scalar::refuse(self.ty.shape(), "array"));
            return Ok(None);
        };
        let mut items = Vec::new();
        let length = self.cx.path.len();
        loop {
            write!(self.cx.path, "[{}]", items.len()).map_err(A::Error::custom)?;
            let next = input.next_element_seed(Node { ty: item, cx: &mut *self.cx })?;
            self.cx.path.truncate(length);
            match next {
                Some(value) => items.push(value.unwrap_or_else(|| scalar::zero(item.shape()))),
                None => return Ok(Some(Value::Array(items))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Self::Value, A::Error> {
        match (self.ty.shape(), self.ty.item()) {
            (Shape::Struct { .. }, _) => read_struct(self.ty, self.cx, input),
            (Shape::Map { .. }, Some(item)) => read_map(item, self.cx, input),
            (shape, _) => {
                while input.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.cx.refuse(self.ty, scalar::refuse(shape, "object"));
                Ok(None)
            }
        }
    }
}

fn read_map<'de, 't, A: MapAccess<'de>>(
    item: Type<'t>,
    cx: &mut Cx<'t>,
    mut input: A,
) -> Result<Option<Value>, A::Error> {
    let mut object = Object::new();
    while let Some(key) = input.next_key::<String>()? {
        if object.contains_key(&key) {
            cx.report("duplicate", &key);
        }
        let value = cx.below(&key, |cx| input.next_value_seed(Node { ty: item, cx }))?;
        object.insert(key, value.unwrap_or_else(|| scalar::zero(item.shape())));
    }
    Ok(Some(Value::Object(object)))
}

fn read_struct<'de, 't, A: MapAccess<'de>>(
    ty: Type<'t>,
    cx: &mut Cx<'t>,
    mut input: A,
) -> Result<Option<Value>, A::Error> {
    let mut object = Object::new();
    // A bit per field; no struct has more fields than bits, and if one had, its last duplicates went unreported.
    let mut seen = 0_u128;
    let outer = std::mem::replace(&mut cx.owner, ty);
    while let Some(key) = input.next_key::<String>()? {
        let Some((place, field)) = ty.field_at(&key) else {
            cx.report("unknown", &key);
            input.next_value::<IgnoredAny>()?;
            continue;
        };
        let bit = 1_u128.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0);
        if seen & bit != 0 {
            cx.report("duplicate", &key);
        }
        seen |= bit;
        let Some(ty) = field.ty() else { continue };
        cx.fields.push(field.name());
        let value = cx.below(&key, |cx| input.next_value_seed(Node { ty, cx }))?;
        cx.fields.pop();
        match value.filter(|value| !(field.omits_zero() && is_zero(value))) {
            Some(value) => object.insert(key, value),
            None => object.remove(&key),
        };
    }
    cx.owner = outer;
    Ok(Some(Value::Object(object)))
}
