//! JSON patches, and what they may not make of a small body.

use json_patch::{Patch, PatchError, PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::unprocessable;
use crate::object::{MAX_DEPTH, is_deeper};
use crate::status::Result;

/// A dozen operations that each copy the whole document into itself would fill the memory: upstream's
/// `JSONPatchMaxCopyBytes`.
const MOST_COPIED: usize = 3 * 1024 * 1024;

/// Applies the operations; after an error the document is of no use.
pub(super) fn apply(document: &mut Value, patch: &Patch) -> Result<()> {
    let mut copied = 0;
    for operation in &patch.0 {
        check(document, operation, &mut copied)?;
        json_patch::patch_unsafe(document, std::slice::from_ref(operation))
            .map_err(|error| refused(operation, &error))?;
    }
    Ok(())
}

/// Whether the document stays of a size and depth that can be worked with.
fn check(document: &Value, operation: &PatchOperation, copied: &mut usize) -> Result<()> {
    let inserted = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Move(from) => document.pointer(from.from.as_str()),
        PatchOperation::Copy(from) => {
            let found = document.pointer(from.from.as_str());
            *copied += found.map_or(0, |value| value.to_string().len());
            found
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    if *copied > MOST_COPIED {
        return Err(unprocessable(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit \
             {MOST_COPIED}"
        )));
    }
    let room = MAX_DEPTH.saturating_sub(operation.path().count());
    if inserted.is_some_and(|value| is_deeper(value, room)) {
        let path = operation.path();
        return Err(unprocessable(format!("{path}: exceeded max depth: at most {MAX_DEPTH} levels may be nested")));
    }
    Ok(())
}

/// What upstream's library says of an operation that does not fit.
fn refused(operation: &PatchOperation, error: &PatchError) -> crate::Status {
    let path = &error.path;
    unprocessable(match (operation, &error.kind) {
        (PatchOperation::Test(_), _) => format!("testing value {path} failed: test failed"),
        (PatchOperation::Add(_), _) => {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        (PatchOperation::Remove(_), _) => {
            format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        (PatchOperation::Replace(_), _) => {
            format!("replace operation does not apply: doc is missing key: {path}: missing value")
        }
        (PatchOperation::Move(operation), PatchErrorKind::InvalidFromPointer) => {
            format!("move operation does not apply: doc is missing from path: {}: missing value", operation.from)
        }
        (PatchOperation::Copy(operation), PatchErrorKind::InvalidFromPointer) => {
            format!("copy operation does not apply: doc is missing from path: {}: missing value", operation.from)
        }
        (PatchOperation::Move(_), _) => {
            format!("move operation does not apply: doc is missing destination path: {path}: missing value")
        }
        (PatchOperation::Copy(_), _) => {
            format!("copy operation does not apply: doc is missing destination path: {path}: missing value")
        }
    })
}
