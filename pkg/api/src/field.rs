//! Field paths and validation errors, with the texts of `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use serde_json::Value;

use crate::status::Cause;

/// A path such as `spec.containers[0].name`. Extending it makes a new path; the parent stays usable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// The path of a top-level field.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self(name.into())
    }

    /// `self.name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::root(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// `self[index]`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// `self[key]`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What kind of wrong a field is; the `reason` of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Missing.
    Required,
    /// Malformed or out of range.
    Invalid,
    /// Must be unique and is not.
    Duplicate,
    /// Not one of the known values.
    NotSupported,
    /// Must not be set here.
    Forbidden,
    /// Longer than allowed.
    TooLong,
    /// More items than allowed.
    TooMany,
    /// Refers to something that does not exist.
    NotFound,
    /// Of the wrong type.
    TypeInvalid,
    /// Something failed that is not the user's fault.
    Internal,
}

impl Reason {
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Required => ("FieldValueRequired", "Required value"),
            Self::Invalid => ("FieldValueInvalid", "Invalid value"),
            Self::Duplicate => ("FieldValueDuplicate", "Duplicate value"),
            Self::NotSupported => ("FieldValueNotSupported", "Unsupported value"),
            Self::Forbidden => ("FieldValueForbidden", "Forbidden"),
            Self::TooLong => ("FieldValueTooLong", "Too long"),
            Self::TooMany => ("FieldValueTooMany", "Too many"),
            Self::NotFound => ("FieldValueNotFound", "Not found"),
            Self::TypeInvalid => ("FieldValueTypeInvalid", "Invalid value"),
            Self::Internal => ("InternalError", "Internal error"),
        }
    }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What is wrong with it.
    pub reason: Reason,
    /// Where it is.
    pub path: Path,
    /// The value that was given, where the text shows it.
    pub value: Option<Value>,
    /// What would be right.
    pub detail: String,
}

impl Error {
    /// Everything after the path: `Invalid value: "x": must be ...`.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.reason.texts().1.to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path, self.body())
    }
}

/// All wrong fields of an object, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    /// No errors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything is right.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an error with all its parts.
    pub fn push(&mut self, reason: Reason, path: Path, value: Option<Value>, detail: impl Into<String>) {
        self.0.push(Error { reason, path, value, detail: detail.into() });
    }

    /// The field is missing.
    pub fn required(&mut self, path: Path, detail: impl Into<String>) {
        self.push(Reason::Required, path, None, detail);
    }

    /// The field's value is malformed.
    pub fn invalid(&mut self, path: Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(Reason::Invalid, path, Some(value.into()), detail);
    }

    /// The field must not be set.
    pub fn forbidden(&mut self, path: Path, detail: impl Into<String>) {
        self.push(Reason::Forbidden, path, None, detail);
    }

    /// The value occurs twice.
    pub fn duplicate(&mut self, path: Path, value: impl Into<Value>) {
        self.push(Reason::Duplicate, path, Some(value.into()), "");
    }

    /// The value is not one of `supported`.
    pub fn not_supported(&mut self, path: Path, value: impl Into<Value>, supported: &[&str]) {
        let mut supported: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
        supported.sort();
        let detail = format!("supported values: {}", supported.join(", "));
        self.push(Reason::NotSupported, path, Some(value.into()), detail);
    }

    /// Takes over the errors of another check.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The causes of a `Status`.
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        let cause = |error: &Error| Cause {
            reason: error.reason.texts().0.into(),
            message: error.body(),
            field: error.path.to_string(),
        };
        self.0.iter().map(cause).collect()
    }
}

impl fmt::Display for Errors {
    /// One error stands alone, several stand in brackets, equal ones once: Go's `Aggregate`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<String> = Vec::new();
        for error in &self.0 {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [one] => out.write_str(one),
            many => write!(out, "[{}]", many.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let spec = Path::root("spec");
        let mut errors = Errors::new();
        errors.required(spec.child("containers"), "");
        assert_eq!(errors.to_string(), "spec.containers: Required value");
        errors.invalid(spec.child("ports").index(1).child("port"), 0, "must be between 1 and 65535, inclusive");
        errors.not_supported(spec.child("type"), "Cluster", &["NodePort", "ClusterIP"]);
        assert_eq!(
            errors.to_string(),
            "[spec.containers: Required value, \
             spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive, \
             spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"NodePort\"]"
        );
        assert_eq!(errors.causes()[2].reason, "FieldValueNotSupported");
    }
}
