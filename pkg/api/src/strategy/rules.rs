//! Validation as tables: the rules that upstream writes out by hand for every field.
//!
//! A table lists rules in the order in which upstream reports their errors; what is code stays code, behind
//! [`Rule::With`].

use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path};
use crate::tree::{Tree, same};

/// An object within an object under validation, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    /// Its path from the root.
    pub(crate) path: Path,
    /// The object.
    pub(crate) object: &'a Object,
}

impl<'a> At<'a> {
    /// The whole object.
    pub(crate) fn root(object: &'a Object) -> Self {
        Self { path: Path::root(""), object }
    }

    /// The path of a field; `a.b` names a field of a field.
    pub(crate) fn path(&self, field: &str) -> Path {
        self.path.child(field)
    }

    /// The object at a field, when there is one.
    pub(crate) fn enter(&self, field: &str) -> Option<At<'a>> {
        let object = self.object;
        object.object(field).map(|object| At { path: self.path(field), object })
    }

    /// The objects of the list at a field.
    pub(crate) fn each(&self, field: &str) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path(field);
        let object = self.object;
        let objects = object.list(field).iter().enumerate();
        objects.filter_map(move |(i, value)| Some(At { path: path.index(i), object: value.as_object()? }))
    }

    /// The strings of the list at a field, with their paths.
    pub(crate) fn texts(&self, field: &str) -> impl Iterator<Item = (Path, &'a str)> + use<'a> {
        let path = self.path(field);
        let object = self.object;
        let texts = object.list(field).iter().enumerate();
        texts.filter_map(move |(i, value)| Some((path.index(i), value.as_str()?)))
    }

    /// A string of the object.
    pub(crate) fn text(&self, field: &str) -> &'a str {
        let object = self.object;
        object.text(field)
    }

    /// The object itself, as a bad value in an error.
    pub(crate) fn as_value(&self) -> Value {
        Value::Object(self.object.clone())
    }
}

/// What a name or another text must look like: the messages of what is wrong with it.
pub(crate) type Form = fn(&str) -> Vec<String>;

/// One rule for a field of an object.
#[derive(Debug)]
pub(crate) enum Rule {
    /// Not absent and not empty.
    Required(&'static str),
    /// One of these, when it is there.
    OneOf(&'static str, &'static [&'static str]),
    /// There, and one of these.
    MustBe(&'static str, &'static [&'static str]),
    /// At least 0.
    NonNegative(&'static str),
    /// At least 1, whether it is there or not.
    Positive(&'static str),
    /// Between these two, when it is there.
    Range(&'static str, i64, i64),
    /// Of this form, when it is not empty.
    Formed(&'static str, Form),
    /// There, and of this form.
    Named(&'static str, Form),
    /// Rules for the object at a field, where there is one.
    In(&'static str, &'static [Rule]),
    /// Rules for each object in the list at a field.
    Each(&'static str, &'static [Rule]),
    /// A rule that is code.
    With(fn(&mut Errors, &At<'_>)),
}

/// What upstream says of a number below zero.
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
/// What upstream says of a number below one.
pub(crate) const NOT_POSITIVE: &str = "must be greater than zero";
/// What upstream says of a change that is not allowed.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// Checks an object by a table.
pub(crate) fn check(errors: &mut Errors, at: &At<'_>, table: &[Rule]) {
    let object = at.object;
    for rule in table {
        match rule {
            Rule::Required(field) => {
                if is_empty(object.value(field)) {
                    errors.required(at.path(field), "");
                }
            }
            Rule::OneOf(field, known) => one_of(errors, at, field, known),
            Rule::MustBe(field, known) => match object.text(field) {
                "" => errors.required(at.path(field), ""),
                _ => one_of(errors, at, field, known),
            },
            Rule::NonNegative(field) => {
                if object.number(field) < 0 {
                    errors.invalid(at.path(field), object.number(field), NEGATIVE);
                }
            }
            Rule::Positive(field) => {
                if object.number(field) <= 0 {
                    errors.invalid(at.path(field), object.number(field), NOT_POSITIVE);
                }
            }
            Rule::Range(field, low, high) => {
                if let Some(number) = object.int(field) {
                    in_range(errors, at.path(field), number, *low, *high);
                }
            }
            Rule::Formed(field, form) => {
                if !object.text(field).is_empty() {
                    formed(errors, &at.path(field), object.text(field), *form);
                }
            }
            Rule::Named(field, form) => match object.text(field) {
                "" => errors.required(at.path(field), ""),
                text => formed(errors, &at.path(field), text, *form),
            },
            Rule::In(field, table) => {
                if let Some(inner) = at.enter(field) {
                    check(errors, &inner, table);
                }
            }
            Rule::Each(field, table) => at.each(field).for_each(|item| check(errors, &item, table)),
            Rule::With(code) => code(errors, at),
        }
    }
}

fn one_of(errors: &mut Errors, at: &At<'_>, field: &str, known: &[&str]) {
    let text = at.object.text(field);
    if at.object.has(field) && !known.contains(&text) {
        errors.not_supported(at.path(field), text, known);
    }
}

/// An error unless `number` lies between `low` and `high`.
pub(crate) fn in_range(errors: &mut Errors, path: Path, number: i64, low: i64, high: i64) {
    if !(low..=high).contains(&number) {
        errors.invalid(path, number, format!("must be between {low} and {high}, inclusive"));
    }
}

/// Errors for everything that a form says of a text.
pub(crate) fn formed(errors: &mut Errors, path: &Path, text: &str, form: Form) {
    for message in form(text) {
        errors.invalid(path.clone(), text, message);
    }
}

/// Errors for the fields that changed though they may not.
pub(crate) fn unchanged(errors: &mut Errors, new: &Object, old: &Object, fields: &[&str]) {
    for field in fields {
        if !same(new.value(field), old.value(field)) {
            let value = new.value(field).cloned().unwrap_or_default();
            errors.invalid(Path::root("").child(field), value, IMMUTABLE);
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(_) | Value::Bool(_) | Value::Number(_)) => false,
    }
}
