//! What Go accepts for each scalar type, and what it writes back.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use serde_json::{Number, Value};

use super::table::Shape;
use crate::{quantity, time};

/// Why a scalar was refused.
pub(super) enum Refused {
    /// The wrong type: what was found, as Go calls it. The caller knows where and what was wanted.
    Type(String),
    /// The same for a type that Go reads by way of another one, which is what the error names.
    Inner(String, &'static str),
    /// The text of an error that says everything by itself.
    Text(String),
}

/// `value`, which is neither null nor an array nor an object, as one of `shape`.
pub(super) fn read(shape: Shape, value: Value) -> Result<Value, Refused> {
    match (shape, &value) {
        (Shape::Any, _) | (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => Ok(value),
        (Shape::Double, Value::Number(_)) => Ok(value),
        (Shape::Int32, Value::Number(number)) if is_int32(number) => Ok(value),
        (Shape::Int64, Value::Number(number)) if number.is_i64() => Ok(value),
        (Shape::Int32 | Shape::Int64, Value::Number(number)) => Err(Refused::Type(format!("number {number}"))),
        (Shape::Bytes, Value::String(text)) => bytes(text),
        (Shape::Quantity, Value::String(text)) => quantity(text.trim()),
        (Shape::Quantity, other) => quantity(&other.to_string()),
        (Shape::Time, Value::String(text)) => {
            time::parse(text).map(|at| time::seconds(at).into()).map_err(Refused::Text)
        }
        (Shape::MicroTime, Value::String(text)) => {
            time::parse_micros(text).map(|at| time::micros(at).into()).map_err(Refused::Text)
        }
        (Shape::Time | Shape::MicroTime, other) => Err(Refused::Inner(name(other).into(), "string")),
        (Shape::IntOrString, Value::String(_)) => Ok(value),
        (Shape::IntOrString, Value::Number(number)) if is_int32(number) => Ok(value),
        (Shape::IntOrString, Value::Number(number)) => Err(Refused::Inner(format!("number {number}"), "int32")),
        (Shape::IntOrString, other) => Err(Refused::Inner(name(other).into(), "int32")),
        (_, other) => Err(Refused::Type(name(other).into())),
    }
}

/// An array or object where a scalar of `shape` is wanted.
pub(super) fn refuse(shape: Shape, found: &'static str) -> Refused {
    match shape {
        Shape::Time | Shape::MicroTime => Refused::Inner(found.into(), "string"),
        Shape::IntOrString => Refused::Inner(found.into(), "int32"),
        Shape::Quantity => Refused::Text(quantity::ParseError::Format.to_string()),
        _ => Refused::Type(found.into()),
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_int32(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn quantity(text: &str) -> Result<Value, Refused> {
    match quantity::canonical(text) {
        Ok(text) => Ok(text.into_owned().into()),
        Err(error) => Err(Refused::Text(error.to_string())),
    }
}

/// Go ignores what the last character has too many bits of, and writes it back without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

fn bytes(text: &str) -> Result<Value, Refused> {
    let joined: String = text.chars().filter(|char| !matches!(char, '\r' | '\n')).collect();
    match LENIENT.decode(&joined) {
        Ok(bytes) => Ok(STANDARD.encode(bytes).into()),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => joined.len() / 4 * 4,
            };
            Err(Refused::Text(format!("illegal base64 data at input byte {at}")))
        }
    }
}

/// What a null becomes where a value must stand: an item of a list, the value of a map.
pub(super) fn zero(shape: Shape) -> Value {
    match shape {
        Shape::Struct { .. } | Shape::Map { .. } => Value::Object(serde_json::Map::new()),
        Shape::List { .. } => Value::Array(Vec::new()),
        Shape::String | Shape::Bytes => "".into(),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Quantity => "0".into(),
        Shape::Time | Shape::MicroTime | Shape::Any => Value::Null,
    }
}
