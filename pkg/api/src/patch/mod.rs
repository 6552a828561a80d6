//! The three patches of RFC 6902, RFC 7386 and Kubernetes (strategic merge).
//!
//! A patch applies to the object in the version of the request; the caller decodes the result with its schema again, since
//! a patch may put anything anywhere.

mod json;
mod order;
mod strategic;

use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path};
use crate::schema::{Type, untyped};
use crate::status::{Cause, Details, Result, Status};

/// More operations than this in one JSON patch are refused, as upstream.
const MOST_OPERATIONS: usize = 10_000;

/// The kinds of patches, by media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

impl PatchKind {
    /// The media types, for the error that lists them.
    pub const MEDIA_TYPES: &'static [(&'static str, Self)] = &[
        ("application/json-patch+json", Self::Json),
        ("application/merge-patch+json", Self::Merge),
        ("application/strategic-merge-patch+json", Self::Strategic),
    ];

    /// The kind that a media type (without parameters) names.
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        Self::MEDIA_TYPES.iter().find(|(name, _)| *name == media_type).map(|(_, kind)| *kind)
    }
}

/// A patch that was understood.
#[derive(Clone, Debug)]
pub struct Patch {
    body: Body,
    /// `duplicate field "spec.x"`: what strict decoding has to say of the patch itself.
    pub strict: Vec<String>,
}

#[derive(Clone, Debug)]
enum Body {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Object),
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 400 when it is malformed, 413 when a JSON patch has too many operations.
    pub fn parse(kind: PatchKind, bytes: &[u8]) -> Result<Self> {
        let undecodable = |why: String| match kind {
            PatchKind::Strategic => Status::bad_request(why),
            PatchKind::Json | PatchKind::Merge => Status::bad_request(format!("error decoding patch: {why}")),
        };
        let (value, strict) = untyped::parse(bytes).map_err(undecodable)?;
        let found = match &value {
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Null => "null",
        };
        let wrong = |wanted| undecodable(format!("json: cannot unmarshal {found} into Go value of type {wanted}"));
        let body = match (kind, value) {
            (PatchKind::Json, Value::Array(operations)) if operations.len() > MOST_OPERATIONS => {
                let count = operations.len();
                let message =
                    format!("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {count}");
                return Err(Status::failure(413, "RequestEntityTooLarge", message));
            }
            (PatchKind::Json, operations @ Value::Array(_)) => {
                Body::Json(serde_json::from_value(operations).map_err(|error| undecodable(error.to_string()))?)
            }
            (PatchKind::Json, _) => return Err(wrong("[]handlers.jsonPatchOp")),
            (PatchKind::Merge, patch @ Value::Object(_)) => Body::Merge(patch),
            (PatchKind::Strategic, Value::Object(patch)) => Body::Strategic(patch),
            (PatchKind::Merge | PatchKind::Strategic, _) => return Err(wrong("map[string]interface {}")),
        };
        Ok(Self { body, strict })
    }

    /// Applies it. `ty` is the object's type, which only strategic merge needs.
    ///
    /// # Errors
    /// 422 when the patch does not fit the object, 400 when it breaks its own rules, 415 for a strategic merge patch of a
    /// kind that has no schema: a custom resource.
    pub fn apply(&self, object: Object, ty: Option<Type<'_>>) -> Result<Object> {
        match &self.body {
            Body::Json(patch) => {
                let mut value = Value::Object(object);
                json::apply(&mut value, patch)?;
                object_of(value)
            }
            Body::Merge(patch) => {
                let mut value = Value::Object(object);
                json_patch::merge(&mut value, patch);
                object_of(value)
            }
            Body::Strategic(patch) => {
                let Some(ty) = ty else {
                    let known: Vec<_> = PatchKind::MEDIA_TYPES.iter().map(|(name, _)| *name).take(2).collect();
                    return Err(Status::unsupported_media_type(&known.join(", ")));
                };
                Ok(strategic::merge(object, patch.clone(), ty)?)
            }
        }
    }
}

fn object_of(value: Value) -> Result<Object> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(undecodable(&other, "the patched document is not an object")),
    }
}

/// The error for an object that a patch has made unreadable; `why` is the decoding's or the strict decoding's error.
#[must_use]
pub fn undecodable(patched: &Value, why: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(Path::root("patch"), patched.to_string(), why);
    let mut status = Status::failure(422, "Invalid", format!(" \"\" is invalid: {errors}"));
    status.details = Some(Box::new(Details { causes: errors.causes(), ..Details::default() }));
    status
}

fn unprocessable(message: String) -> Status {
    let reason = "the server rejected our request due to an error in our request";
    let mut status = Status::failure(422, "Invalid", reason);
    // Upstream says no more than that; the cause tells the user what is wrong.
    let cause = Cause { field: "patch".into(), message, ..Cause::default() };
    status.details = Some(Box::new(Details { causes: vec![cause], ..Details::default() }));
    status
}

#[cfg(test)]
mod tests;
