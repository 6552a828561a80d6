//! Lines of container logs, as CRI defines them:
//! `2026-11-23T18:22:00.123456789Z stdout F text`. A line that was too long for the runtime's buffer comes in parts, tagged
//! `P` but for the last.

use jiff::Timestamp;

/// What a reader wants of a log (`PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Only lines written at or after this moment.
    pub(super) since: Option<Timestamp>,
    /// Only this stream, `stdout` or `stderr`.
    pub(super) stream: Option<String>,
    /// Put each line's time in front of it.
    pub(super) timestamps: bool,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: &'a str,
    pub(super) stream: &'a str,
    /// Whether more of the same line follows.
    pub(super) partial: bool,
    pub(super) text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its end; `None` for what the runtime did not write.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = std::str::from_utf8(parts.next()?).ok()?;
        let tags = parts.next()?;
        let partial = tags.split(|&byte| byte == b':').next()? == b"P";
        Some(Self { time, stream, partial, text: parts.next().unwrap_or_default() })
    }
}

impl Selection {
    /// Adds to `out` what the reader gets of a line. `continued` says whether the part before it was partial.
    pub(super) fn write(&self, line: &Line<'_>, continued: bool, out: &mut Vec<u8>) {
        if self.stream.as_ref().is_some_and(|stream| stream != line.stream) {
            return;
        }
        if let Some(since) = self.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        if self.timestamps && !continued {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selection: &Selection, lines: &[&str], expect: &str) {
        let (mut out, mut continued) = (Vec::new(), false);
        for text in lines {
            let line = Line::parse(text.as_bytes()).unwrap();
            selection.write(&line, continued, &mut out);
            continued = line.partial;
        }
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    const LINES: [&str; 4] = [
        "2026-11-23T10:00:00.5Z stdout F one",
        "2026-11-23T10:00:01Z stderr F two",
        "2026-11-23T10:00:02Z stdout P thr",
        "2026-11-23T10:00:02.1Z stdout F ee with  spaces",
    ];

    #[test]
    fn lines_and_parts() {
        check(&Selection::default(), &LINES, "one\ntwo\nthree with  spaces\n");
        check(&Selection { stream: Some("stderr".into()), ..Selection::default() }, &LINES, "two\n");
        let since = Some("2026-11-23T10:00:01Z".parse().unwrap());
        check(&Selection { since, ..Selection::default() }, &LINES, "two\nthree with  spaces\n");
        check(
            &Selection { timestamps: true, ..Selection::default() },
            &LINES,
            "2026-11-23T10:00:00.5Z one\n2026-11-23T10:00:01Z two\n2026-11-23T10:00:02Z three with  spaces\n",
        );
        check(&Selection::default(), &["2026-11-23T10:00:00Z stdout F "], "\n");
        assert_eq!(Line::parse(b"garbage"), None);
    }
}
