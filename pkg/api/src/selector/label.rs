//! Label selectors.

use std::fmt;

use serde_json::Value;

use super::Invalid;
use super::lexer::{Token, tokens};
use crate::object::Meta;
use crate::{Object, forms};

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
        refuse("<nil>", key, &forms::qualified(key))?;
        let alone = matches!(self.peek(), Token::End | Token::Comma);
        let (operator, values) = match (negated, alone) {
            (true, _) => (Operator::DoesNotExist, Vec::new()),
            (false, true) => (Operator::Exists, Vec::new()),
            (false, false) => self.comparison()?,
        };
        for (index, value) in values.iter().enumerate() {
            let is_order = matches!(operator, Operator::GreaterThan | Operator::LessThan);
            if is_order && value.parse::<i64>().is_err() {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(Invalid(format!("values[{index}]: Invalid value: {value:?}: {why}")));
            }
            refuse(&format!("values[{index}][{key}]"), value, &forms::label_value(value))?;
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
        let mut values: Vec<String> = match self.peek().into_value() {
            Token::Identifier(_) | Token::Comma => self.listed()?.into_iter().map(Into::into).collect(),
            Token::Close => vec![String::new()],
            other => return Err(expected(&other, "',', ')' or identifier")),
        };
        self.next();
        values.sort();
        values.dedup();
        Ok(values)
    }

    /// The values up to the closing parenthesis, which stays.
    fn listed(&mut self) -> Result<Vec<&'a str>, Invalid> {
        let mut values = Vec::new();
        loop {
            match (self.next().into_value(), self.peek().into_value()) {
                (Token::Identifier(value), next) => {
                    values.push(value);
                    match next {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        other => return Err(expected(&other, "',' or ')'")),
                    }
                }
                (Token::Comma, next) => {
                    if values.is_empty() || matches!(next, Token::Comma | Token::Close) {
                        values.push("");
                    }
                    if next == Token::Close {
                        return Ok(values);
                    }
                }
                (other, _) => return Err(expected(&other, "',', or identifier")),
            }
        }
    }
}

fn expected(found: &Token<'_>, what: &str) -> Invalid {
    Invalid(format!("found '{}', expected: {what}", found.text()))
}

/// The error for a key or value that has faults; `path` is what upstream calls the place.
fn refuse(path: &str, text: &str, faults: &[String]) -> Result<(), Invalid> {
    match faults {
        [] => Ok(()),
        faults => Err(Invalid(format!("{path}: Invalid value: {text:?}: {}", faults.join("; ")))),
    }
}
