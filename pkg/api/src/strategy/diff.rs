//! A unified diff of two objects as upstream shows it when a change is refused: pretty JSON, three lines of context.

use std::fmt::Write;

use crate::Object;

const CONTEXT: usize = 3;

/// What changed from `old` to `new`; empty when nothing did. Not the smallest diff: lines that are the same at both ends are
/// context, all between them is removed and added, which for one changed field is the same.
pub(super) fn diff(old: &Object, new: &Object) -> String {
    let pretty = |object: &Object| serde_json::to_string_pretty(object).unwrap_or_default();
    let (old, new) = (pretty(old), pretty(new));
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(one, other)| one == other).count();
    if head == old.len() && head == new.len() {
        return String::new();
    }
    let start = head.saturating_sub(CONTEXT);
    let after = tail.min(CONTEXT);
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let mut text =
        format!("@@ -{},{} +{},{} @@\n", start + 1, old_end + after - start, start + 1, new_end + after - start);
    let mut lines = |sign: char, lines: &[&str], from: usize, to: usize| {
        for line in lines.iter().take(to).skip(from) {
            let written = writeln!(text, "{sign}{}", line.replacen("  ", " ", line.len()));
            debug_assert!(written.is_ok(), "a String takes everything");
        }
    };
    lines(' ', &old, start, head);
    lines('-', &old, head, old_end);
    lines('+', &new, head, new_end);
    lines(' ', &old, old_end, old_end + after);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn one_changed_field_is_one_line_each() {
        let (Value::Object(old), Value::Object(new)) =
            (json!({"a": 1, "b": 2, "c": 3}), json!({"a": 1, "b": 5, "c": 3}))
        else {
            unreachable!()
        };
        assert_eq!(diff(&old, &new), "@@ -1,5 +1,5 @@\n {\n  \"a\": 1,\n- \"b\": 2,\n+ \"b\": 5,\n  \"c\": 3\n }\n");
        assert_eq!(diff(&old, &old), "");
    }
}
