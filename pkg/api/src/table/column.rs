//! A column: its heading, and how its cell is made of an object.

use jiff::Timestamp;
use serde_json::Value;

use super::ColumnDefinition;
use super::text;
use crate::Object;
use crate::tree::Tree;

/// A column of a kind.
pub(super) struct Column {
    heading: &'static str,
    kind: &'static str,
    description: &'static str,
    priority: i32,
    names: bool,
    cell: Cell,
}

/// How a cell is made. Paths are as in [`Tree::value`].
pub(super) enum Cell {
    /// The object's name.
    Name,
    /// How long ago the object was made.
    Age,
    /// When the object was made.
    Created,
    /// A string, or the second text where there is none.
    Text(&'static str, &'static str),
    /// A number; 0 when absent.
    Int(&'static str),
    /// A boolean, or the second value when absent.
    Flag(&'static str, bool),
    /// How many entries a list or map has.
    Count(&'static str),
    /// How long ago a time was.
    Since(&'static str, &'static str),
    /// The strings of a list with commas between them.
    Joined(&'static str, &'static str),
    /// The names (or another field) of the containers at a path.
    Containers(&'static str, &'static str),
    /// A map as `a=b,c=d`.
    Labels(&'static str),
    /// A label selector.
    Selector(&'static str),
    /// Whatever stands there, as it is.
    Json(&'static str),
    /// A text that is code.
    With(fn(&Object) -> String),
    /// A value that is code and depends on the time.
    At(fn(&Object, Timestamp) -> Value),
}

const fn new(heading: &'static str, kind: &'static str, description: &'static str, cell: Cell) -> Column {
    Column { heading, kind, description, priority: 0, names: matches!(cell, Cell::Name), cell }
}

/// A column of texts.
pub(super) const fn text(heading: &'static str, description: &'static str, cell: Cell) -> Column {
    new(heading, "string", description, cell)
}

/// A column of numbers.
pub(super) const fn int(heading: &'static str, description: &'static str, path: &'static str) -> Column {
    new(heading, "integer", description, Cell::Int(path))
}

/// A column of sizes.
pub(super) const fn count(heading: &'static str, description: &'static str, path: &'static str) -> Column {
    new(heading, "integer", description, Cell::Count(path))
}

/// A column of booleans.
pub(super) const fn flag(heading: &'static str, description: &'static str, cell: Cell) -> Column {
    new(heading, "boolean", description, cell)
}

/// The column `Name`.
pub(super) const fn name() -> Column {
    new("Name", "string", "Name of the object, unique among those of its kind in a namespace.", Cell::Name)
}

/// The column `Age`.
pub(super) const fn age() -> Column {
    new("Age", "string", "Time since the object was created.", Cell::Age)
}

/// The column `Created At`.
pub(super) const fn created_at() -> Column {
    new("Created At", "date", "When the object was created.", Cell::Created)
}

impl Column {
    /// The same column, shown on wide screens only.
    pub(super) const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The same column as the one that names the object.
    pub(super) const fn naming(mut self) -> Self {
        self.names = true;
        self
    }

    /// The same column with another priority.
    pub(super) const fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// What a client is told about the column.
    pub(super) fn definition(&self) -> ColumnDefinition {
        let format = if self.names { "name" } else { "" };
        ColumnDefinition {
            name: self.heading,
            kind: self.kind,
            format,
            description: self.description,
            priority: self.priority,
        }
    }

    /// The cell of an object.
    pub(super) fn cell(&self, object: &Object, now: Timestamp) -> Value {
        match &self.cell {
            Cell::Name => object.text("metadata.name").into(),
            Cell::Age => text::age(object, now).into(),
            Cell::Created => object.text("metadata.creationTimestamp").into(),
            Cell::Text(path, otherwise) => match object.text(path) {
                "" => (*otherwise).into(),
                own => own.into(),
            },
            Cell::Int(path) => object.number(path).into(),
            Cell::Flag(path, otherwise) => object.flag(path).unwrap_or(*otherwise).into(),
            Cell::Count(path) => count_of(object.value(path)).into(),
            Cell::Since(path, otherwise) => match object.text(path) {
                "" => (*otherwise).into(),
                time => text::since(time, now).into(),
            },
            Cell::Joined(path, otherwise) => match text::join(object.texts(path)) {
                none if none.is_empty() => (*otherwise).into(),
                joined => joined.into(),
            },
            Cell::Containers(path, field) => {
                text::join(object.objects(path).map(|container| container.text(field))).into()
            }
            Cell::Labels(path) => text::labels(object.map(path)).into(),
            Cell::Selector(path) => match text::selector(object.map(path)) {
                none if none.is_empty() => "<none>".into(),
                selector => selector.into(),
            },
            Cell::Json(path) => match object.value(path) {
                None => Value::Null,
                Some(value @ (Value::Array(_) | Value::Object(_))) => value.to_string().into(),
                Some(value) => value.clone(),
            },
            Cell::With(code) => code(object).into(),
            Cell::At(code) => code(object, now),
        }
    }
}

fn count_of(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}
