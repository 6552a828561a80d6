//! Bodies in protobuf, as client-go sends them: `application/vnd.kubernetes.protobuf`.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>
//!
//! A body becomes the tree that the same object would be in JSON; the schema reads that as it reads any other tree. How
//! the types are laid out is a table of text that is read when the first such body comes (`schema/protobuf.txt`, made from
//! the tags of upstream's Go types).
//!
//! ```text
//! "k8s\0"  runtime.Unknown{ typeMeta=1{ apiVersion=1, kind=2 }, raw=2 }      raw: apps.v1.Deployment{ metadata=1, spec=2 }
//! ```

mod layout;
mod special;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Object;
use layout::{Field, Form, Layout};
use wire::{Reader, Wire};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Deeper objects are refused: the only recursive types are schemas of custom resources, which nobody nests so deep.
const MAX_DEPTH: usize = 100;

/// Why a body is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin as it should.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// It ends too early, or a part has a length or form that cannot be.
    #[error("proto: malformed message: {0}")]
    Malformed(&'static str),
    /// The type has no protobuf form.
    #[error("no protobuf form is known for {0}")]
    Unknown(String),
}

/// A body without its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// As the sender says; may be empty.
    pub api_version: String,
    /// As the sender says; may be empty.
    pub kind: String,
    /// The object.
    pub raw: &'a [u8],
}

/// Opens a body.
///
/// # Errors
/// When it has no envelope.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, Error> {
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(body.strip_prefix(MAGIC).ok_or(Error::Magic)?);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(typemeta)) => {
                let mut reader = Reader::new(typemeta);
                while let Some((number, wire)) = reader.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => envelope.api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => envelope.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Reads an object of the type whose schema has this name, such as `io.k8s.api.apps.v1.Deployment`.
///
/// # Errors
/// When the bytes are no such object.
pub fn decode(raw: &[u8], schema: &str) -> Result<Object, Error> {
    decode_at(raw, schema, 0)
}

fn decode_at(raw: &[u8], schema: &str, depth: usize) -> Result<Object, Error> {
    let layout = layout::of(schema).ok_or_else(|| Error::Unknown(schema.into()))?;
    let mut object = Object::new();
    message(raw, layout, &mut object, depth)?;
    Ok(object)
}

fn message(bytes: &[u8], layout: &Layout, object: &mut Object, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Malformed("it is nested too deeply"));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = layout.field(number) else { continue };
        put(object, field, &field.form, &wire, depth)?;
    }
    Ok(())
}

/// Puts a field into its object. Repeated fields and entries of maps come one by one.
fn put(object: &mut Object, field: &Field, form: &Form, wire: &Wire<'_>, depth: usize) -> Result<(), Error> {
    match form {
        Form::List(item) => {
            let Some(value) = value(item, wire, depth)? else { return Ok(()) };
            let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value);
            }
        }
        Form::Map(item) => {
            let (key, value) = entry(item, wire, depth)?;
            let map = object.entry(field.name).or_insert_with(|| Value::Object(Object::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        }
        // An embedded struct: its fields are the object's own.
        Form::Message(name) if field.name.is_empty() => {
            let layout = layout::of(name).ok_or_else(|| Error::Unknown(name.to_string()))?;
            message(wire.bytes()?, layout, object, depth + 1)?;
        }
        form => {
            if let Some(value) = value(form, wire, depth)?
                && !(field.omits_zero && is_zero(&value))
            {
                object.insert(field.name.to_string(), value);
            }
        }
    }
    Ok(())
}

fn entry(item: &Form, wire: &Wire<'_>, depth: usize) -> Result<(String, Value), Error> {
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader::new(wire.bytes()?);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => key = utf8(wire.bytes()?)?,
            2 => found = value(item, &wire, depth)?,
            _ => {}
        }
    }
    let value = found.unwrap_or_else(|| match item {
        Form::Text | Form::Bytes => "".into(),
        Form::Bool => false.into(),
        Form::Integer => 0.into(),
        Form::Strings | Form::List(_) => Value::Array(Vec::new()),
        // The schema knows what a null stands for: no time, a quantity of zero.
        Form::Special(_) => Value::Null,
        _ => Value::Object(Object::new()),
    });
    Ok((key, value))
}

/// One value; `None` for what JSON writes as null, such as a time that is not set.
fn value(form: &Form, wire: &Wire<'_>, depth: usize) -> Result<Option<Value>, Error> {
    Ok(Some(match form {
        Form::Text => utf8(wire.bytes()?)?.into(),
        Form::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Form::Bool => (wire.integer()? != 0).into(),
        Form::Integer => wire.integer()?.into(),
        Form::Double => serde_json::Number::from_f64(wire.double()?).map_or(Value::Null, Value::Number),
        Form::Strings => strings(wire.bytes()?)?,
        Form::Special(read) => return read(wire.bytes()?, depth),
        Form::Message(name) => decode_at(wire.bytes()?, name, depth + 1)?.into(),
        Form::List(_) | Form::Map(_) => return Err(Error::Malformed("a list of lists")),
    }))
}

/// A message that only wraps a list of strings: `ExtraValue`, `Verbs`.
fn strings(bytes: &[u8]) -> Result<Value, Error> {
    let (mut list, mut reader) = (Vec::new(), Reader::new(bytes));
    while let Some((number, wire)) = reader.next()? {
        if number == 1 {
            list.push(utf8(wire.bytes()?)?.into());
        }
    }
    Ok(Value::Array(list))
}

/// Whether Go leaves the value out of JSON where a field is marked `omitempty` and is no pointer.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Malformed("a string is not UTF-8"))
}

#[cfg(test)]
mod tests;
