//! Label and field selectors, in upstream's syntax and with its error texts (`k8s.io/apimachinery/pkg/{labels,fields}`).

mod field;
mod label;
mod lexer;

pub use field::{FieldSelector, FieldTerm};
pub use label::{LabelSelector, Operator, Requirement};

/// Why a text is no selector. The message is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

#[cfg(test)]
mod tests;
