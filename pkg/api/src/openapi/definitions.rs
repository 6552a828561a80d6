//! The definitions: read from the compressed store, turned into a dialect, written out, one at a time.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader};

use flate2::read::DeflateDecoder;
use serde_json::{Value, json};

use super::paths::PathItem;
use super::{Dialect, schema};
use crate::Object;

/// Lines of a name and a definition, sorted by name.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/definitions.deflate"));

/// The names of all types that the operations of these paths take or give, and of the types within.
pub(super) fn reachable(paths: &[PathItem]) -> HashSet<&'static str> {
    let mut seen: HashSet<&'static str> = HashSet::new();
    let schemas = paths.iter().flat_map(PathItem::schemas);
    let mut open: Vec<_> = schemas.filter_map(|name| schema::root(&name)).collect();
    while let Some(ty) = open.pop() {
        // Types without a name are lists and maps, which are as finite as what names them.
        if ty.name().is_empty() || seen.insert(ty.name()) {
            open.extend(ty.parts());
        }
    }
    seen
}

/// Hands out those definitions that are wanted, sorted by name.
pub(super) fn each(
    dialect: Dialect,
    wanted: &HashSet<&str>,
    mut take: impl FnMut(&str, Value) -> io::Result<()>,
) -> io::Result<()> {
    let mut lines = BufReader::new(DeflateDecoder::new(PACKED));
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if let Some((name, text)) = line.split_once(' ').filter(|(name, _)| wanted.contains(name)) {
            take(name, convert(name, serde_json::from_str(text)?, dialect))?;
        }
        line.clear();
    }
    Ok(())
}

fn convert(name: &str, definition: Value, dialect: Dialect) -> Value {
    let Value::Object(mut definition) = definition else { return definition };
    if let Some(Value::Object(properties)) = definition.remove("properties") {
        let properties: Object =
            properties.into_iter().map(|(field, schema)| (field, property(schema, dialect))).collect();
        definition.insert("properties".into(), properties.into());
    }
    if dialect == Dialect::V3 {
        let either = match name {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => Some(json!([{"type": "string"}, {"type": "number"}])),
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Some(json!([{"type": "integer"}, {"type": "string"}])),
            _ => None,
        };
        if let Some(either) = either {
            definition.remove("type");
            definition.insert("oneOf".into(), either);
        }
    }
    definition.into()
}

fn property(schema: Value, dialect: Dialect) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    for inner in ["items", "additionalProperties"] {
        if let Some(value) = schema.remove(inner) {
            schema.insert(inner.into(), property(value, dialect));
        }
    }
    if dialect == Dialect::V2 {
        schema.remove("default");
    }
    if let Some(Value::String(reference)) = schema.remove("$ref") {
        let reference = json!({"$ref": dialect.reference(reference.trim_start_matches("#/"))});
        // Version 3 allows nothing beside a reference.
        match (dialect, schema.is_empty(), reference) {
            (Dialect::V3, false, reference) => {
                schema.insert("allOf".into(), json!([reference]));
            }
            (_, _, Value::Object(reference)) => schema.extend(reference),
            _ => {}
        }
    }
    schema.into()
}
