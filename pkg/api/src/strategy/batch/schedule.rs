//! The schedules of CronJobs: the five fields of cron, or a name for common ones.
//!
//! What is accepted is what upstream's parser (`github.com/robfig/cron/v3`, `ParseStandard`) accepts; when a job runs next is
//! for the controller.

/// One field: its name in messages, its least and greatest value, and names for values.
struct Field {
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { least: 0, most: 59, names: &[] },
    Field { least: 0, most: 23, names: &[] },
    Field { least: 1, most: 31, names: &[] },
    Field { least: 1, most: 12, names: MONTHS },
    Field { least: 0, most: 6, names: DAYS },
];

const NAMED: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule, if anything, in the words of upstream's parser.
pub(super) fn fault(schedule: &str) -> Option<String> {
    let schedule = match schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
        None => schedule,
    };
    if schedule.is_empty() {
        return Some("empty spec string".into());
    }
    if schedule.starts_with('@') {
        return named_fault(schedule);
    }
    let parts: Vec<_> = schedule.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        let found: Vec<_> = parts.iter().map(|part| format!("{part:?}")).collect();
        return Some(format!(
            "expected exactly 5 fields, found {}: [{}]",
            parts.len(),
            found.join(" ").replace('"', "")
        ));
    }
    FIELDS.iter().zip(parts).find_map(|(field, part)| part.split(',').find_map(|range| range_fault(field, range)))
}

fn named_fault(schedule: &str) -> Option<String> {
    if NAMED.contains(&schedule) {
        return None;
    }
    match schedule.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => None,
        Some(duration) => Some(format!("failed to parse duration {schedule}: time: invalid duration {duration:?}")),
        None => Some(format!("unrecognized descriptor: {schedule}")),
    }
}

/// Go's form of a duration: `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, unit) = rest.split_at(digits);
        let units = ["ns", "us", "ms", "s", "m", "h"];
        let Some(unit) = units.iter().filter(|name| unit.starts_with(**name)).max_by_key(|name| name.len()) else {
            return false;
        };
        if number.parse::<f64>().is_err() {
            return false;
        }
        rest = rest.get(digits + unit.len()..).unwrap_or_default();
    }
    true
}

/// `*`, `?`, `n`, `n-m`, each with `/step`.
fn range_fault(field: &Field, range: &str) -> Option<String> {
    let (span, step) = match range.split_once('/') {
        Some((_, step)) if step.contains('/') => return Some(format!("too many slashes: {range}")),
        Some((span, step)) => (span, Some(step)),
        None => (range, None),
    };
    let (start, end) = match span.split_once('-') {
        _ if matches!(span, "*" | "?") => (field.least, field.most),
        Some((_, end)) if end.contains('-') => return Some(format!("too many hyphens: {range}")),
        Some((start, end)) => match (value(field, start), value(field, end)) {
            (Ok(start), Ok(end)) => (start, end),
            (Err(fault), _) | (_, Err(fault)) => return Some(fault),
        },
        None => match value(field, span) {
            Ok(start) => (start, if step.is_some() { field.most } else { start }),
            Err(fault) => return Some(fault),
        },
    };
    if let Some(fault) = step.and_then(|step| number(step).err()) {
        return Some(fault);
    }
    match () {
        () if start < field.least => {
            Some(format!("beginning of range ({start}) below minimum ({}): {range}", field.least))
        }
        () if end > field.most => Some(format!("end of range ({end}) above maximum ({}): {range}", field.most)),
        () if start > end => Some(format!("beginning of range ({start}) beyond end of range ({end}): {range}")),
        () if step.is_some_and(|step| number(step) == Ok(0)) => {
            Some(format!("step of range should be a positive number: {range}"))
        }
        () => None,
    }
}

fn value(field: &Field, text: &str) -> Result<u32, String> {
    let low = text.to_ascii_lowercase();
    match field.names.iter().position(|name| *name == low) {
        Some(index) => Ok(field.least + u32::try_from(index).unwrap_or_default()),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) => u32::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_those_of_upstream() {
        for good in
            ["* * * * *", "*/5 0-6 1,15 jan-mar MON", "@hourly", "@every 1h30m", "0 0 ? * 0", "TZ=UTC 0 0 * * *"]
        {
            assert_eq!(fault(good), None, "{good}");
        }
        for (bad, text) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(fault(bad).as_deref(), Some(text), "{bad}");
        }
    }
}
