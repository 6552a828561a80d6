//! Defaults as tables.
//!
//! A table says what upstream's `SetDefaults_*` functions do, in the same order. It is walked once per write.
//!
//! ```text
//! Each(&["containers"], &[Zero("terminationMessagePolicy", Text("File"))])
//! ```
//!
//! fills that field of each container in which it is absent or empty.

use serde_json::Value;

use crate::object::{Object, object_in};
use crate::tree::is_zero;

/// One line of a table of defaults.
#[derive(Debug)]
pub(crate) enum Fill {
    /// Sets a field that is absent or `null`: upstream's pointers.
    Absent(&'static str, Fixed),
    /// Sets a field that is absent, `null` or zero (empty, 0, false): upstream's plain values.
    Zero(&'static str, Fixed),
    /// Removes fields that hold a zero value which upstream's types cannot tell from absence, so that an object looks the
    /// same whichever client wrote it. Those that Go omits are gone when the object has been read; these it writes as null.
    Drop(&'static [&'static str]),
    /// Descends into the objects at these fields, where they exist.
    In(&'static [&'static str], &'static [Fill]),
    /// Descends into the object at this field, and makes it when it is absent.
    Make(&'static str, &'static [Fill]),
    /// Descends into each object of the lists at these fields.
    Each(&'static [&'static str], &'static [Fill]),
    /// What depends on other fields.
    With(fn(&mut Object)),
}

/// A value that is known when this is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fixed {
    /// A string.
    Text(&'static str),
    /// A number.
    Int(i64),
    /// A boolean.
    Flag(bool),
    /// A list of strings.
    Texts(&'static [&'static str]),
    /// An empty object.
    Map,
}

impl From<Fixed> for Value {
    fn from(fixed: Fixed) -> Self {
        match fixed {
            Fixed::Text(text) => text.into(),
            Fixed::Int(number) => number.into(),
            Fixed::Flag(flag) => flag.into(),
            Fixed::Texts(list) => list.into(),
            Fixed::Map => Self::Object(Object::new()),
        }
    }
}

/// Fills `object` by a table.
pub(crate) fn fill(object: &mut Object, table: &[Fill]) {
    for line in table {
        match line {
            Fill::Absent(field, value) => {
                if object.get(*field).is_none_or(Value::is_null) {
                    object.insert((*field).into(), (*value).into());
                }
            }
            Fill::Zero(field, value) => {
                if object.get(*field).is_none_or(is_zero) {
                    object.insert((*field).into(), (*value).into());
                }
            }
            Fill::Drop(fields) => drop_zeros(object, fields),
            Fill::In(fields, table) => {
                for field in *fields {
                    if let Some(Value::Object(inner)) = object.get_mut(*field) {
                        fill(inner, table);
                    }
                }
            }
            Fill::Make(field, table) => fill(object_in(object.entry(*field).or_insert(Value::Null)), table),
            Fill::Each(fields, table) => {
                for field in *fields {
                    let items = object.get_mut(*field).and_then(Value::as_array_mut);
                    items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|item| fill(item, table));
                }
            }
            Fill::With(code) => code(object),
        }
    }
}

fn drop_zeros(object: &mut Object, fields: &[&str]) {
    for field in fields {
        if object.get(*field).is_some_and(is_zero) {
            object.remove(*field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fill::*, Fixed::*, *};
    use serde_json::json;

    #[test]
    fn each_line_does_what_it_says() {
        const TABLE: &[Fill] = &[
            Absent("replicas", Int(1)),
            Drop(&["paused"]),
            Make("strategy", &[Zero("type", Text("RollingUpdate"))]),
            Each(&["init", "main"], &[Zero("timeout", Int(1)), In(&["get"], &[Zero("path", Text("/"))])]),
        ];
        for (given, filled) in [
            (json!({}), json!({"replicas": 1, "strategy": {"type": "RollingUpdate"}})),
            (
                json!({"replicas": 0, "paused": false, "strategy": {"type": "Recreate"}}),
                json!({"replicas": 0, "strategy": {"type": "Recreate"}}),
            ),
            (
                json!({"replicas": null, "strategy": null, "main": [{"timeout": 0, "get": {}}, {"timeout": 3}]}),
                json!({"replicas": 1, "strategy": {"type": "RollingUpdate"},
                       "main": [{"timeout": 1, "get": {"path": "/"}}, {"timeout": 3}]}),
            ),
        ] {
            let Value::Object(mut object) = given else { unreachable!() };
            fill(&mut object, TABLE);
            assert_eq!(Value::Object(object), filled);
        }
    }
}
