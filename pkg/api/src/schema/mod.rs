//! The schemas of all built-in kinds, and what is done with them.
//!
//! One tree of types serves every use: [`decode`] reads a body (types, unknown and duplicate fields, nulls, canonical
//! quantities and times), [`defaults`] fills static defaults, `patch` asks for merge keys, `openapi` for references.
//! The tree comes from the OpenAPI definitions that upstream publishes, see `schema/NOTICE`.

pub mod decode;
pub mod defaults;
mod scalar;
mod table;
pub mod untyped;

pub use table::{Field, ListType, Shape, Table, Type};

use table::{Default, FieldRow, Text, TypeRow};

static BUILTIN: Table<'static> = include!(concat!(env!("OUT_DIR"), "/schema_table.rs"));

/// The types of all built-in kinds.
#[must_use]
pub fn builtin() -> &'static Table<'static> {
    &BUILTIN
}

/// A built-in type by its full name, as `io.k8s.api.apps.v1.Deployment`.
#[must_use]
pub fn root(name: &str) -> Option<Type<'static>> {
    BUILTIN.root(name)
}

#[cfg(test)]
mod tests;
