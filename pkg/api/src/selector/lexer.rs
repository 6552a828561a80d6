//! The tokens of a label selector.

/// One token; the text of identifiers is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Identifier(&'a str),
    Open,
    Close,
    Comma,
    Not,
    Operator(&'a str),
    Unknown(&'a str),
    End,
}

impl<'a> Token<'a> {
    /// As error messages quote it.
    pub(super) const fn text(&self) -> &'a str {
        match self {
            Self::Identifier(text) | Self::Operator(text) | Self::Unknown(text) => text,
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::End => "",
        }
    }

    /// `in` and `notin` are operators behind a key and identifiers elsewhere.
    pub(super) fn into_value(self) -> Self {
        match self {
            Self::Operator(text @ ("in" | "notin")) => Self::Identifier(text),
            other => other,
        }
    }
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
const SPECIAL: [char; 7] = ['=', '!', '(', ')', ',', '>', '<'];

/// All tokens of a text, the last one [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(SPACE);
    while !rest.is_empty() {
        let length = if rest.starts_with(SPECIAL) {
            rest.find(|c| !matches!(c, '=' | '!' | '>' | '<')).unwrap_or(rest.len()).clamp(1, 2)
        } else {
            rest.find(|c| SPACE.contains(&c) || SPECIAL.contains(&c)).unwrap_or(rest.len())
        };
        let (lexeme, left) = symbol(rest, length);
        tokens.push(token(lexeme));
        rest = left.trim_start_matches(SPACE);
    }
    tokens.push(Token::End);
    tokens
}

/// Two special characters are one symbol only when they are a known one: `=(` and `!!` are two.
fn symbol(rest: &str, length: usize) -> (&str, &str) {
    let (lexeme, left) = rest.split_at(length);
    if length == 2 && lexeme.starts_with(SPECIAL) && !matches!(lexeme, "==" | "!=") {
        return rest.split_at(1);
    }
    (lexeme, left)
}

fn token(lexeme: &str) -> Token<'_> {
    match lexeme {
        "(" => Token::Open,
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "=" | "==" | "!=" | ">" | "<" | "in" | "notin" => Token::Operator(lexeme),
        other if other.starts_with(SPECIAL) => Token::Unknown(other),
        other => Token::Identifier(other),
    }
}
