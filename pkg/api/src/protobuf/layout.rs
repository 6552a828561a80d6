//! How types are laid out. A line of the table is a type with its fields:
//!
//! ```text
//! io.k8s.api.core.v1.Probe  =1:io.k8s.api.core.v1.ProbeHandler  initialDelaySeconds=2?:i  terminationGracePeriodSeconds=7?:*i
//! ```
//!
//! Name in JSON (none for an embedded struct), number, `?` for `omitempty`, and the form: `*` a pointer, `[` a list of, `{`
//! a map of, `s` string, `y` bytes, `b` bool, `i` integer, `f` double, `E` a wrapped list of strings, else a type.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::special::{self, Read};

const TABLE: &str = include_str!("../../schema/protobuf.txt");

static LAYOUTS: LazyLock<HashMap<&'static str, Layout>> =
    LazyLock::new(|| TABLE.lines().filter_map(Layout::new).collect());

/// The layout of a type.
pub(super) fn of(name: &str) -> Option<&'static Layout> {
    LAYOUTS.get(name)
}

/// The fields of a type, by number.
#[derive(Debug)]
pub(super) struct Layout(Vec<(u32, Field)>);

#[derive(Debug)]
pub(super) struct Field {
    /// In JSON; empty for an embedded struct.
    pub(super) name: &'static str,
    /// Whether Go leaves the zero value out of JSON.
    pub(super) omits_zero: bool,
    pub(super) form: Form,
}

/// What a field holds.
#[derive(Debug)]
pub(super) enum Form {
    Text,
    Bytes,
    Bool,
    Integer,
    Double,
    Strings,
    List(Box<Form>),
    Map(Box<Form>),
    /// A type whose JSON is not its fields.
    Special(Read),
    Message(&'static str),
}

impl Layout {
    fn new(line: &'static str) -> Option<(&'static str, Self)> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let mut fields: Vec<_> = words.filter_map(Field::new).collect();
        fields.sort_by_key(|(number, _)| *number);
        Some((name, Self(fields)))
    }

    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        let at = self.0.binary_search_by_key(&number, |(own, _)| *own).ok()?;
        self.0.get(at).map(|(_, field)| field)
    }
}

impl Field {
    fn new(word: &'static str) -> Option<(u32, Self)> {
        let (name, rest) = word.split_once('=')?;
        let (number, form) = rest.split_once(':')?;
        let (number, optional) = number.strip_suffix('?').map_or((number, false), |number| (number, true));
        let omits_zero = optional && !form.starts_with('*');
        Some((number.parse().ok()?, Self { name, omits_zero, form: Form::new(form) }))
    }
}

impl Form {
    fn new(text: &'static str) -> Self {
        let first = text.chars().next();
        let rest = text.get(1..).unwrap_or_default();
        match (first, text) {
            (Some('*'), _) => Self::new(rest),
            (Some('['), _) => Self::List(Box::new(Self::new(rest))),
            (Some('{'), _) => Self::Map(Box::new(Self::new(rest))),
            (_, "s") => Self::Text,
            (_, "y") => Self::Bytes,
            (_, "b") => Self::Bool,
            (_, "i") => Self::Integer,
            (_, "f") => Self::Double,
            (_, "E") => Self::Strings,
            (_, name) => special::of(name).map_or(Self::Message(name), Self::Special),
        }
    }
}
