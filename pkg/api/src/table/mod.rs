//! Objects as rows for people: what `kubectl get` shows.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>
//!
//! The columns of a kind are a list of [`column::Column`]s, each of which says how its cell is made; the names, types and
//! priorities are those of upstream's `pkg/printers/internalversion`. As upstream's server does, a table always has the
//! wide columns too (those with a priority above 0); it is the client that leaves them out.

mod cluster;
mod column;
mod extensions;
mod network;
mod pod;
mod storage;
mod text;
mod workloads;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::Object;
use crate::kind::Kind;
use column::{Column, name};

/// The parts of a `meta/v1 Table` that depend on the kind.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// `columnDefinitions`.
    pub column_definitions: Vec<ColumnDefinition>,
    /// One row per object, in the order of the objects, without the field `object`.
    pub rows: Vec<Row>,
}

/// `meta/v1 TableColumnDefinition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDefinition {
    /// The heading.
    pub name: &'static str,
    /// An OpenAPI type: `string`, `integer`, `boolean`, `date`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// For people.
    pub description: &'static str,
    /// 0 for what is always shown, more for what is shown on wide screens.
    pub priority: i32,
}

/// `meta/v1 TableRow` without its object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// One value per column.
    pub cells: Vec<Value>,
    /// What a client may use to emphasize or hide the row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Value>,
}

/// The columns of a kind.
#[must_use]
pub fn columns(kind: &Kind) -> Vec<ColumnDefinition> {
    of(&kind.group, &kind.kind).iter().map(Column::definition).collect()
}

/// The row of an object of a kind, with ages as of `now`.
#[must_use]
pub fn row(kind: &Kind, object: &Object, now: Timestamp) -> Row {
    cells(of(&kind.group, &kind.kind), kind, object, now)
}

/// A table of objects of a kind, with ages as of `now`.
#[must_use]
pub fn table<'a>(kind: &Kind, objects: impl Iterator<Item = &'a Object>, now: Timestamp) -> Table {
    let columns = of(&kind.group, &kind.kind);
    Table {
        column_definitions: columns.iter().map(Column::definition).collect(),
        rows: objects.map(|object| cells(columns, kind, object, now)).collect(),
    }
}

fn cells(columns: &[Column], kind: &Kind, object: &Object, now: Timestamp) -> Row {
    let conditions = if kind.group.is_empty() && kind.kind == "Pod" { pod::conditions(object) } else { Vec::new() };
    Row { cells: columns.iter().map(|column| column.cell(object, now)).collect(), conditions }
}

/// What is shown of kinds that upstream has no printer for.
const FALLBACK: &[Column] = &[name(), column::created_at()];

fn of(group: &str, kind: &str) -> &'static [Column] {
    let groups: &[&[(&str, &str, &[Column])]] =
        &[cluster::KINDS, workloads::KINDS, network::KINDS, storage::KINDS, extensions::KINDS];
    let rows = groups.iter().flat_map(|rows| rows.iter());
    let mut found = rows.filter(|(own_group, own_kind, _)| *own_kind == kind && *own_group == group);
    found.next().map_or(FALLBACK, |(_, _, columns)| columns)
}

#[cfg(test)]
mod tests;
