//! Field selectors.

use super::Invalid;

/// Terms that must all hold; none at all select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<FieldTerm>);

/// `field=value` or `field!=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The label of a [selectable field](crate::kind::SelectableField), `metadata.name` or `metadata.namespace`.
    pub field: String,
    /// Whether the value must be equal, not different.
    pub equal: bool,
    /// Unescaped.
    pub value: String,
}

impl FieldSelector {
    /// Reads the text form: `metadata.name=x,spec.nodeName!=y`; `\` escapes `\`, `,` and `=`.
    ///
    /// # Errors
    /// Upstream's text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut terms = Vec::new();
        for part in split_terms(text).into_iter().filter(|part| !part.is_empty()) {
            let invalid = || Invalid(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let (field, equal, value) = split_term(part).ok_or_else(invalid)?;
            terms.push(FieldTerm { field: field.into(), equal, value: unescape(value)? });
        }
        Ok(Self(terms))
    }

    /// The value that a field must have, if some term demands one.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let was_escaped = escaped;
        escaped = !escaped && c == '\\';
        c == ',' && !was_escaped
    })
    .collect()
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let (field, rest) = term.split_at(at);
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((field, equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, Invalid> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => text.push(next),
                next => {
                    let sequence: String = std::iter::once('\\').chain(next).collect();
                    return Err(Invalid(format!("invalid field selector: invalid escape sequence: {sequence}")));
                }
            },
            ',' | '=' => return Err(Invalid(format!("invalid field selector: unescaped character in value: {c}"))),
            other => text.push(other),
        }
    }
    Ok(text)
}
