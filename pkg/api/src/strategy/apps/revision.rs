//! ControllerRevisions.

use crate::strategy::row::Row;
use crate::strategy::rules::Rule;
use crate::tree::Tree;

/// ControllerRevisions.
pub(in crate::strategy) static CONTROLLER_REVISION: Row = Row {
    rules: &[Rule::NonNegative("revision")],
    check_create: |_, errors, revision| {
        let path = crate::field::Path::root("data");
        match revision.value("data") {
            None => errors.required(path, "data is mandatory"),
            Some(data) if !data.is_object() => errors.required(path, "data must be a valid JSON object"),
            Some(_) => {}
        }
    },
    immutable: &["data"],
    ..Row::PLAIN
};
