//! `/openapi/v2` and `/openapi/v3`: the schemas of all kinds with their descriptions, and the paths under which they are
//! served. `kubectl explain`, `kubectl apply` and `--validate` read them.
//!
//! The definitions lie compressed in the binary; a document is written definition by definition into a compressor, so that
//! at no time is more than one of them unpacked. The server keeps what [`v2`] and [`v3`] return, and nothing before
//! somebody asks.

mod definitions;
mod operations;
mod pack;
mod paths;
mod proto;

pub use pack::Packed;

use std::io::{self, Write};

use serde_json::{Value, json};

use self::paths::PathItem;
use crate::Object;
use crate::kind::{Kind, KindRef};
use crate::schema;

/// Which OpenAPI a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// The path of the document of a group and version, without a leading slash: `apis/apps/v1`.
fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The index of the documents of version 3: `/openapi/v3`. Each has a hash that changes with it.
#[must_use]
pub fn index(kinds: &[KindRef]) -> Value {
    let mut paths = Object::new();
    for kind in kinds {
        for version in &kind.versions {
            let place = place(&kind.group, &version.name);
            let url = format!("/openapi/v3/{place}?hash={}", hash(kinds, &kind.group, &version.name));
            paths.insert(place, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The hash of the version 3 document of a group and version.
#[must_use]
pub fn hash(kinds: &[KindRef], group: &str, version: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(include_str!(concat!(env!("OUT_DIR"), "/openapi_digest.txt")));
    hasher.update(place(group, version));
    for kind in kinds.iter().filter(|kind| kind.group == group && kind.version(version).is_some()) {
        // Not the whole row: conversions print as addresses, which differ from start to start.
        let Kind { kind: name, plural, namespaced, verbs, subresources, .. } = &**kind;
        let schema = kind.version(version).map(|version| &version.schema);
        hasher.update(format!("{name} {plural} {namespaced} {verbs:?} {subresources:?} {schema:?}"));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The document of version 3 for a group and version; `None` when nothing is served there. `release` is the server's
/// version, as `v1.35.4`.
///
/// # Errors
/// Never in practice: the writer is memory.
pub fn v3(kinds: &[KindRef], group: &str, version: &str, release: &str) -> io::Result<Option<Packed>> {
    let rows: Vec<_> = kinds.iter().filter(|kind| kind.group == group && kind.version(version).is_some()).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let paths: Vec<_> = rows.iter().flat_map(|kind| paths::of(kind, version)).collect();
    let packed = Packed::write(|out| {
        write!(out, "{{\"openapi\":\"3.0.0\",\"info\":{},\"paths\":{{", info(release))?;
        write_json(out, &paths, Dialect::V3, "},\"components\":{\"schemas\":{")?;
        write!(out, "}},\"securitySchemes\":{}}}}}", security())
    })?;
    Ok(Some(packed))
}

/// The document of version 2, with everything in it.
///
/// # Errors
/// Never in practice: the writer is memory.
pub fn v2(kinds: &[KindRef], release: &str) -> io::Result<Packed> {
    Packed::write(|out| {
        write!(out, "{{\"swagger\":\"2.0\",\"info\":{},\"paths\":{{", info(release))?;
        write_json(out, &all_paths(kinds), Dialect::V2, "},\"definitions\":{")?;
        write!(out, "}},\"securityDefinitions\":{},\"security\":{}}}", security(), requirement())
    })
}

/// The same in its protobuf form, [`V2_PROTOBUF`].
///
/// # Errors
/// Never in practice: the writer is memory.
pub fn v2_protobuf(kinds: &[KindRef], release: &str) -> io::Result<Packed> {
    let paths = all_paths(kinds);
    Packed::write(|out| {
        out.write_all(&proto::document(&json!({"swagger": "2.0", "info": info(release)})))?;
        for item in &paths {
            out.write_all(&proto::document(&json!({"paths": {&item.path: item.render(Dialect::V2)}})))?;
        }
        definitions::each(Dialect::V2, &definitions::reachable(&paths), |name, definition| {
            out.write_all(&proto::document(&json!({"definitions": {name: definition}})))
        })?;
        out.write_all(&proto::document(&json!({"securityDefinitions": security(), "security": requirement()})))
    })
}

/// The media type of [`v2_protobuf`].
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

fn all_paths(kinds: &[KindRef]) -> Vec<PathItem> {
    let versions = |kind: &KindRef| -> Vec<_> {
        kind.versions.iter().flat_map(|version| paths::of(kind, &version.name)).collect()
    };
    kinds.iter().flat_map(versions).collect()
}

/// Writes the members of the object of paths, what stands `between`, and the members of the object of definitions.
fn write_json(out: &mut dyn Write, paths: &[PathItem], dialect: Dialect, between: &str) -> io::Result<()> {
    let mut separator = "";
    for item in paths {
        write!(out, "{separator}\"{}\":{}", item.path, item.render(dialect))?;
        separator = ",";
    }
    out.write_all(between.as_bytes())?;
    separator = "";
    definitions::each(dialect, &definitions::reachable(paths), |name, definition| {
        write!(out, "{}\"{name}\":{definition}", std::mem::replace(&mut separator, ","))
    })
}

fn requirement() -> Value {
    json!([{"BearerToken": []}])
}

fn info(release: &str) -> Value {
    json!({"title": "Kubernetes", "version": release})
}

fn security() -> Value {
    let description = "Bearer Token authentication";
    json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": description}})
}

#[cfg(test)]
mod tests;
