//! Label selectors.

use std::fmt;

use serde_json::Value;

use super::Invalid;
use super::lexer::{Token, tokens};
use crate::Object;
use crate::object::Meta;

/// Requirements that must all hold; none at all select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// What must be true of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what; sorted. Empty for the operators that ask for existence.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=` and `==`.
    Equals,
    /// `!=`: holds also when there is no such label.
    NotEquals,
    /// `in`.
    In,
    /// `notin`: holds also when there is no such label.
    NotIn,
    /// The bare key.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `>`, of integers.
    GreaterThan,
    /// `<`, of integers.
    LessThan,
}

impl Requirement {
    /// Whether a label of this value (`None`: no such label) fulfils the requirement.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        let compared = |order| {
            let number = |text: &str| text.parse::<i64>().ok();
            let pair = (value.and_then(number), self.values.first().and_then(|own| number(own)));
            matches!(pair, (Some(value), Some(own)) if value.cmp(&own) == order)
        };
        match self.operator {
            Operator::Equals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compared(std::cmp::Ordering::Greater),
            Operator::LessThan => compared(std::cmp::Ordering::Less),
        }
    }
}

impl LabelSelector {
    /// Reads the text form: `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// Upstream's text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let tokens = tokens(text);
        Parser { tokens: &tokens }.selector()
    }

    /// The selector of a `meta/v1 LabelSelector` object (`matchLabels`, `matchExpressions`) or of a plain map of labels.
    ///
    /// # Errors
    /// For an operator that does not exist.
    pub fn of(object: &Object) -> Result<Self, Invalid> {
        let is_plain = object.values().any(Value::is_string);
        let labels = if is_plain { Some(object) } else { object.get("matchLabels").and_then(Value::as_object) };
        let mut all = Self::default();
        for (key, value) in labels.into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            all.0.push(Requirement { key: key.clone(), operator: Operator::Equals, values });
        }
        let expressions = object.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten().filter_map(Value::as_object) {
            all.0.push(requirement(expression)?);
        }
        all.0.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its requirements.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether labels are selected; `label` finds the value of a key.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Whether the labels in an object's metadata are selected.
    #[must_use]
    pub fn matches_object(&self, object: &Object) -> bool {
        let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
        self.matches(|key| labels?.get(key)?.as_str())
    }
}

fn requirement(expression: &Object) -> Result<Requirement, Invalid> {
    let operator = match expression.str_at(&["operator"]) {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(Invalid(format!("{other:?} is not a valid label selector operator"))),
    };
    let values = expression.get("values").and_then(Value::as_array);
    let mut values: Vec<String> =
        values.into_iter().flatten().filter_map(|value| value.as_str().map(Into::into)).collect();
    values.sort();
    Ok(Requirement { key: expression.str_at(&["key"]).into(), operator, values })
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, requirement) in self.0.iter().enumerate() {
            if position > 0 {
                out.write_str(",")?;
            }
            requirement.fmt(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, values, .. } = self;
        let values = values.join(",");
        match self.operator {
            Operator::Equals => write!(out, "{key}={values}"),
            Operator::NotEquals => write!(out, "{key}!={values}"),
            Operator::In => write!(out, "{key} in ({values})"),
            Operator::NotIn => write!(out, "{key} notin ({values})"),
            Operator::Exists => out.write_str(key),
            Operator::DoesNotExist => write!(out, "!{key}"),
            Operator::GreaterThan => write!(out, "{key}>{values}"),
            Operator::LessThan => write!(out, "{key}<{values}"),
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.first().cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.tokens = self.tokens.get(1..).unwrap_or_default();
        token
    }

    fn selector(mut self) -> Result<LabelSelector, Invalid> {
        let mut all = LabelSelector::default();
        match self.peek().into_value() {
            Token::Identifier(_) | Token::Not => {}
            Token::End => return Ok(all),
            other => return Err(expected(&other, "!, identifier, or 'end of string'")),
        }
        loop {
            let requirement =
                self.requirement().map_err(|Invalid(why)| Invalid(format!("unable to parse requirement: {why}")))?;
            all.0.push(requirement);
            match self.next() {
                Token::End => break,
                Token::Comma if matches!(self.peek().into_value(), Token::Identifier(_) | Token::Not) => {}
                Token::Comma => return Err(expected(&self.peek(), "identifier after ','")),
                other => return Err(expected(&other, "',' or 'end of string'")),
            }
        }
        all.0.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    fn requirement(&mut self) -> Result<Requirement, Invalid> {
        let mut token = self.next().into_value();
        let negated = token == Token::Not;
        if negated {
            token = self.next().into_value();
        }
        let Token::Identifier(key) = token else { return Err(expected(&token, "identifier")) };
        check_key(key)?;
        let alone = matches!(self.peek(), Token::End | Token::Comma);
        let (operator, values) = match (negated, alone) {
            (true, _) => (Operator::DoesNotExist, Vec::new()),
            (false, true) => (Operator::Exists, Vec::new()),
            (false, false) => self.comparison()?,
        };
        for value in &values {
            check_value(value)?;
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(Invalid(format!("values[0]: Invalid value: {value:?}: {why}")));
            }
        }
        Ok(Requirement { key: key.into(), operator, values })
    }

    fn comparison(&mut self) -> Result<(Operator, Vec<String>), Invalid> {
        let operator = match self.next() {
            Token::Operator("in") => return Ok((Operator::In, self.values()?)),
            Token::Operator("notin") => return Ok((Operator::NotIn, self.values()?)),
            Token::Operator("=" | "==") => Operator::Equals,
            Token::Operator("!=") => Operator::NotEquals,
            Token::Operator(">") => Operator::GreaterThan,
            Token::Operator("<") => Operator::LessThan,
            other => return Err(expected(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok((operator, vec![String::new()]));
        }
        match self.next().into_value() {
            Token::Identifier(value) => Ok((operator, vec![value.into()])),
            other => Err(expected(&other, "identifier")),
        }
    }

    /// `(a,b)`; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, Invalid> {
        match self.next() {
            Token::Open => {}
            other => return Err(Invalid(format!("found '{}' expected: '('", other.text()))),
        }
        let mut values = Vec::new();
        loop {
            let mut token = self.next().into_value();
            let value = if let Token::Identifier(value) = token {
                token = self.next();
                value
            } else {
                ""
            };
            values.push(value.to_owned());
            match token {
                Token::Comma => {}
                Token::Close => break,
                other => return Err(expected(&other, "',', ')' or identifier")),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn expected(found: &Token<'_>, what: &str) -> Invalid {
    Invalid(format!("found '{}', expected: {what}", found.text()))
}

/// A qualified name: an optional DNS subdomain and a name of at most 63 characters.
fn check_key(key: &str) -> Result<(), Invalid> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_ok = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
            })
    });
    if prefix_ok && !name.is_empty() && is_label_text(name) {
        return Ok(());
    }
    let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
               alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
               '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    Err(Invalid(format!("key: Invalid value: {key:?}: {why}")))
}

fn check_value(value: &str) -> Result<(), Invalid> {
    if is_label_text(value) {
        return Ok(());
    }
    let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
               start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
               validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    Err(Invalid(format!("values[0]: Invalid value: {value:?}: {why}")))
}

fn is_label_text(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().next_back())
}
