//! Types whose JSON is not what their fields say.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::wire::{Reader, Wire};
use super::{Error, utf8};
use crate::time::{micros, seconds};

/// Reads a message of such a type.
pub(super) type Read = fn(&[u8], depth: usize) -> Result<Option<Value>, Error>;

/// The reader of a special type.
pub(super) fn of(name: &str) -> Option<Read> {
    let types: [(&str, Read); 11] = [
        ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", time),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", micro_time),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", embedded),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", duration),
        ("io.k8s.apimachinery.pkg.runtime.RawExtension", embedded),
        ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", embedded),
        ("io.k8s.apimachinery.pkg.api.resource.Quantity", quantity),
        ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", int_or_string),
        ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", schema_or_bool),
        ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", schema_or_schemas),
        ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", schema_or_names),
    ];
    types.into_iter().find(|(own, _)| *own == name).map(|(_, read)| read)
}

/// The integer fields of a message.
fn integers<const N: usize>(bytes: &[u8]) -> Result<[i64; N], Error> {
    let (mut found, mut reader) = ([0; N], Reader::new(bytes));
    while let Some((number, wire)) = reader.next()? {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        if let (Wire::Varint(value), Some(slot)) = (wire, at.and_then(|at| found.get_mut(at))) {
            *slot = value.cast_signed();
        }
    }
    Ok(found)
}

/// The first field of a message, when it is bytes.
fn first(bytes: &[u8]) -> Result<Option<&[u8]>, Error> {
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if number == 1 {
            return wire.bytes().map(Some);
        }
    }
    Ok(None)
}

/// An empty message is a time that is not set.
fn instant(bytes: &[u8]) -> Result<Option<Timestamp>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let [seconds, nanos] = integers(bytes)?;
    let nanos = i32::try_from(nanos).map_err(|_| Error::Malformed("a time is out of range"))?;
    Timestamp::new(seconds, nanos).map(Some).map_err(|_| Error::Malformed("a time is out of range"))
}

fn time(bytes: &[u8], _: usize) -> Result<Option<Value>, Error> {
    Ok(instant(bytes)?.map(|time| seconds(time).into()))
}

fn micro_time(bytes: &[u8], _: usize) -> Result<Option<Value>, Error> {
    Ok(instant(bytes)?.map(|time| micros(time).into()))
}

/// Nanoseconds, as Go prints a duration of whole seconds or less.
fn duration(bytes: &[u8], _: usize) -> Result<Option<Value>, Error> {
    let [nanos] = integers(bytes)?;
    let text = if nanos % 1_000_000_000 == 0 { format!("{}s", nanos / 1_000_000_000) } else { format!("{nanos}ns") };
    Ok(Some(text.into()))
}

/// JSON within protobuf.
fn embedded(bytes: &[u8], _: usize) -> Result<Option<Value>, Error> {
    let Some(raw) = first(bytes)?.filter(|raw| !raw.is_empty()) else { return Ok(None) };
    serde_json::from_slice(raw).map(Some).map_err(|_| Error::Malformed("an embedded object is not JSON"))
}

fn quantity(bytes: &[u8], _: usize) -> Result<Option<Value>, Error> {
    first(bytes)?.map_or_else(|| Ok("0".into()), utf8).map(|text| Some(text.into()))
}

fn int_or_string(bytes: &[u8], _: usize) -> Result<Option<Value>, Error> {
    let ([kind, number], mut text) = (integers(bytes)?, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.next()? {
        if field == 3 {
            text = utf8(wire.bytes()?)?;
        }
    }
    Ok(Some(if kind == 0 { number.into() } else { text.into() }))
}

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

fn schema(bytes: &[u8], depth: usize) -> Result<Value, Error> {
    super::decode_at(bytes, SCHEMA, depth + 1).map(Into::into)
}

/// One schema, or a list of them.
fn schema_or_schemas(bytes: &[u8], depth: usize) -> Result<Option<Value>, Error> {
    let (mut list, mut reader) = (Vec::new(), Reader::new(bytes));
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => return schema(wire.bytes()?, depth).map(Some),
            2 => list.push(schema(wire.bytes()?, depth)?),
            _ => {}
        }
    }
    Ok(Some(list.into()))
}

/// A schema, or whether anything goes.
fn schema_or_bool(bytes: &[u8], depth: usize) -> Result<Option<Value>, Error> {
    let (mut allows, mut reader) = (false, Reader::new(bytes));
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => allows = wire.integer()? != 0,
            2 => return schema(wire.bytes()?, depth).map(Some),
            _ => {}
        }
    }
    Ok(Some(json!(allows)))
}

/// A schema, or the names of other properties.
fn schema_or_names(bytes: &[u8], depth: usize) -> Result<Option<Value>, Error> {
    let (mut names, mut reader) = (Vec::new(), Reader::new(bytes));
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => return schema(wire.bytes()?, depth).map(Some),
            2 => names.push(Value::from(utf8(wire.bytes()?)?)),
            _ => {}
        }
    }
    Ok(Some(names.into()))
}
