//! Short forms of times, labels, selectors and lists.

use jiff::Timestamp;
use serde_json::Value;

use crate::Object;
use crate::tree::Tree;

/// How long ago an object was made.
pub(super) fn age(object: &Object, now: Timestamp) -> String {
    since(object.text("metadata.creationTimestamp"), now)
}

/// How long ago a time was; `<unknown>` for what is no time.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => duration(now.as_second() - time.as_second()),
        Err(_) => "<unknown>".into(),
    }
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A duration with two to three significant figures: `k8s.io/apimachinery/pkg/util/duration.HumanDuration`. Clocks may
/// differ by a second.
pub(super) fn duration(seconds: i64) -> String {
    let two = |unit: i64, large: &str, part: i64, small: &str| match seconds % unit / part {
        0 => format!("{}{large}", seconds / unit),
        rest => format!("{}{large}{rest}{small}", seconds / unit),
    };
    match seconds {
        ..=-2 => "<invalid>".into(),
        -1 => "0s".into(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(DAY, "d", HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// Texts with commas between them.
pub(super) fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// A map as `a=b,c=d`.
pub(super) fn labels(map: &Object) -> String {
    if map.is_empty() {
        return "<none>".into();
    }
    let mut pairs: Vec<_> =
        map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    pairs.join(",")
}

/// A label selector in the form of the command line, as in `app=web,tier in (a,b),!old`.
pub(super) fn selector(selector: &Object) -> String {
    let equal = selector.map("matchLabels").iter();
    let equal = equal.map(|(key, value)| (key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())));
    let other = selector.objects("matchExpressions").map(|rule| {
        let key = rule.text("key");
        let mut values: Vec<_> = rule.texts("values").collect();
        values.sort_unstable();
        let text = match rule.text("operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        (key, text)
    });
    let mut all: Vec<_> = equal.chain(other).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// The first few of a list, and how many more there are.
pub(super) fn first<T: AsRef<str>>(all: &[T], most: usize, separator: &str, none: &str) -> String {
    let shown: Vec<_> = all.iter().take(most).map(AsRef::as_ref).collect();
    match all.len() {
        0 => none.into(),
        len if len > most => format!("{} + {} more...", shown.join(separator), len - most),
        _ => shown.join(separator),
    }
}

/// A quantity, a port, or whatever else is a string or a number.
pub(super) fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The condition of a type, where an object lists conditions at a path.
pub(super) fn condition<'a>(object: &'a Object, path: &str, kind: &str) -> Option<&'a Object> {
    object.objects(path).find(|condition| condition.text("type") == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_upstreams() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (10 * MINUTE, "10m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 59 * MINUTE, "3h59m"),
            (8 * HOUR, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + HOUR, "2d1h"),
            (8 * DAY, "8d"),
            (YEAR, "365d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (8 * YEAR, "8y"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn selectors_read_as_on_the_command_line() {
        let Value::Object(given) = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "a", "operator": "Exists"},
            ],
        }) else {
            unreachable!()
        };
        assert_eq!(selector(&given), "a,app=web,!old,tier in (a,b)");
    }
}
