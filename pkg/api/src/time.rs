//! Points in time as the API writes them: `metav1.Time` with seconds, `metav1.MicroTime` with microseconds, always in UTC.
//! What is accepted, and what is said of the rest, is Go's `time.Parse`.

use jiff::{Timestamp, tz};

const SECONDS_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICROS_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// `2026-01-02T03:04:05Z`.
#[must_use]
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T03:04:05.000006Z`.
#[must_use]
pub fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads RFC 3339, with or without fractions of a second.
///
/// # Errors
/// Go's text.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    read(text, SECONDS_LAYOUT, false)
}

/// Reads RFC 3339 with exactly six digits of fractions.
///
/// # Errors
/// Go's text.
pub fn parse_micros(text: &str) -> Result<Timestamp, String> {
    read(text, MICROS_LAYOUT, true)
}

/// A two-digit part with its separator, its name in Go's layouts, and its limits.
const PARTS: &[(&str, &str, u8, u8)] =
    &[("-", "01", 1, 12), ("-", "02", 1, 31), ("T", "15", 0, 23), (":", "04", 0, 59), (":", "05", 0, 59)];
const NAMES: &[&str] = &["month", "day", "hour", "minute", "second"];

fn read(text: &str, layout: &str, exact_micros: bool) -> Result<Timestamp, String> {
    let cannot =
        |rest: &str, part: &str| format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}");
    let range = |name: &str| format!("parsing time {text:?}: {name} out of range");
    let mut rest = text;
    let year = take_digits(&mut rest, 4).ok_or_else(|| cannot(text, "2006"))?;
    let mut values = [0_i8; 5];
    for (((separator, part, least, most), name), value) in PARTS.iter().zip(NAMES).zip(&mut values) {
        rest = rest.strip_prefix(separator).ok_or_else(|| cannot(rest, separator))?;
        let at = rest;
        let digits = take_digits(&mut rest, 2).ok_or_else(|| cannot(at, part))?;
        let number: u8 = digits.parse().map_err(|_| cannot(at, part))?;
        if !(*least..=*most).contains(&number) {
            return Err(range(name));
        }
        *value = i8::try_from(number).map_err(|_| range(name))?;
    }
    let nanos = fraction(&mut rest, exact_micros).ok_or_else(|| cannot(rest, ".000000"))?;
    let offset = zone(rest).ok_or_else(|| cannot(rest, "Z07:00"))?;
    let year: i16 = year.parse().map_err(|_| cannot(text, "2006"))?;
    let [month, day, hour, minute, second] = values;
    jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanos)
        .and_then(|civil| tz::Offset::from_seconds(offset)?.to_timestamp(civil))
        .map_err(|_| range("day"))
}

fn take_digits<'a>(rest: &mut &'a str, count: usize) -> Option<&'a str> {
    let (digits, after) = rest.split_at_checked(count)?;
    *rest = after;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

/// Nanoseconds of a fraction, cut after the ninth digit.
fn fraction(rest: &mut &str, exact_micros: bool) -> Option<i32> {
    let digits = rest
        .strip_prefix('.')
        .map_or("", |after| after.split_at(after.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(after.len())).0);
    if exact_micros && digits.len() != 6 {
        return None;
    }
    if !digits.is_empty() {
        *rest = rest.get(digits.len() + 1..)?;
    }
    let nanos: String = digits.chars().chain(std::iter::repeat('0')).take(9).collect();
    nanos.parse().ok()
}

/// Seconds east of Greenwich.
fn zone(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('+') {
        1
    } else if text.starts_with('-') {
        -1
    } else {
        return None;
    };
    let mut rest = text.get(1..)?;
    let hours: i32 = take_digits(&mut rest, 2)?.parse().ok()?;
    rest = rest.strip_prefix(':')?;
    let minutes: i32 = take_digits(&mut rest, 2)?.parse().ok()?;
    (rest.is_empty() && hours <= 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_utc_with_whole_seconds() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.999Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
            ("2026-01-02T23:04:05-01:30", "2026-01-03T00:34:05Z"),
        ] {
            assert_eq!(seconds(parse(text).unwrap()), expected);
        }
        let micro = "2026-01-02T03:04:05.000006Z";
        assert_eq!(micros(parse_micros(micro).unwrap()), micro);
    }

    #[test]
    fn errors_are_gos() {
        for (text, expected) in [
            ("soon", r#"parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006""#),
            ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2026-01-02", r#"parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#),
            ("2026-13-02T00:00:00Z", r#"parsing time "2026-13-02T00:00:00Z": month out of range"#),
            ("2026-02-30T00:00:00Z", r#"parsing time "2026-02-30T00:00:00Z": day out of range"#),
            (
                "2026-01-02T03:04:05",
                r#"parsing time "2026-01-02T03:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
        assert!(parse_micros("2026-01-02T03:04:05Z").unwrap_err().ends_with(r#"cannot parse "Z" as ".000000""#));
    }
}
