//! Reading JSON of no known type, such as a patch: like `serde_json`, but duplicate fields are reported.

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::Object;

/// Reads a value, and says `duplicate field "spec.x"` of every field that comes twice; the last one counts.
///
/// # Errors
/// When the text is not JSON.
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut cx = Cx::default();
    let value = Node(&mut cx).deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok((value, cx.strict))
}

#[derive(Default)]
struct Cx {
    path: String,
    strict: Vec<String>,
}

struct Node<'a>(&'a mut Cx);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.0.path.len();
        loop {
            write!(self.0.path, "[{}]", items.len()).map_err(A::Error::custom)?;
            let next = input.next_element_seed(Node(&mut *self.0))?;
            self.0.path.truncate(length);
            match next {
                Some(value) => items.push(value),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        let length = self.0.path.len();
        while let Some(key) = input.next_key::<String>()? {
            let dot = if length == 0 { "" } else { "." };
            write!(self.0.path, "{dot}{key}").map_err(A::Error::custom)?;
            if object.contains_key(&key) {
                self.0.strict.push(format!("duplicate field {:?}", self.0.path));
            }
            let value = input.next_value_seed(Node(&mut *self.0))?;
            self.0.path.truncate(length);
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
