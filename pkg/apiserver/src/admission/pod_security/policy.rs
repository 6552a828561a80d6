//! What a namespace's labels demand: `k8s.io/pod-security-admission/api`.

use std::fmt;

use knarr_api::Object;
use knarr_api::field::{Errors, Path};
use serde_json::Value;

/// How much a pod may do; the later the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

/// A level as it was understood in a version of Kubernetes: `v1.MINOR`, or `latest` (`u32::MAX`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) minor: u32,
}

const LATEST: u32 = u32::MAX;
const NONE: Standard = Standard { level: Level::Privileged, minor: LATEST };

impl fmt::Display for Standard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            LATEST => write!(out, "{level}:latest"),
            minor => write!(out, "{level}:v1.{minor}"),
        }
    }
}

/// What is refused, and what is warned of. (Auditing has no log to write to yet.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) warn: Standard,
}

impl Policy {
    /// Reads a namespace's labels. What cannot be read is an error and, where pods are concerned, means the strictest to
    /// `enforce` and the most lenient to `warn`.
    pub(super) fn of(labels: &Object) -> (Self, Errors) {
        let mut errors = Errors::new();
        let mut policy = Self { enforce: NONE, warn: NONE };
        let enforce = level(labels, "enforce", &mut errors);
        policy.enforce.level = enforce.map_or(Level::Privileged, |level| level.unwrap_or(Level::Restricted));
        policy.enforce.minor = minor(labels, "enforce", &mut errors).unwrap_or(LATEST);
        // Upstream's audit labels must be right as well.
        let _unused = (level(labels, "audit", &mut errors), minor(labels, "audit", &mut errors));
        let warn = level(labels, "warn", &mut errors);
        let warn_minor = minor(labels, "warn", &mut errors);
        policy.warn.level = warn.flatten().unwrap_or(Level::Privileged);
        policy.warn.minor = warn_minor.unwrap_or(LATEST);
        if warn.is_none() && enforce.flatten().is_some() && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            policy.warn.minor = warn_minor.unwrap_or(policy.enforce.minor);
        }
        (policy, errors)
    }
}

fn label<'a>(labels: &'a Object, name: &str) -> Option<(String, &'a str)> {
    let key = format!("pod-security.kubernetes.io/{name}");
    let value = labels.get(&key).and_then(Value::as_str)?;
    Some((key, value))
}

fn invalid(errors: &mut Errors, key: &str, value: &str, detail: &str) {
    errors.invalid(Path::root("metadata").child("labels").key(key), value, detail);
}

/// `None` without the label, `Some(None)` for a wrong one.
fn level(labels: &Object, mode: &str, errors: &mut Errors) -> Option<Option<Level>> {
    let (key, value) = label(labels, mode)?;
    let level = Level::parse(value);
    if level.is_none() {
        invalid(errors, &key, value, "must be one of privileged, baseline, restricted");
    }
    Some(level)
}

fn minor(labels: &Object, mode: &str, errors: &mut Errors) -> Option<u32> {
    let (key, value) = label(labels, &format!("{mode}-version"))?;
    let digits = value.strip_prefix("v1.").filter(|digits| {
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (*digits == "0" || !digits.starts_with('0'))
    });
    let minor = if value == "latest" { Some(LATEST) } else { digits.and_then(|digits| digits.parse().ok()) };
    if minor.is_none() {
        invalid(errors, &key, value, "must be \"latest\" or \"v1.x\"");
    }
    Some(minor.unwrap_or(LATEST))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn labels_are_read_as_upstream_reads_them() {
        let table = [
            (json!({}), "privileged:latest privileged:latest", 0),
            (json!({"enforce": "baseline"}), "baseline:latest baseline:latest", 0),
            (json!({"enforce": "baseline", "enforce-version": "v1.20"}), "baseline:v1.20 baseline:v1.20", 0),
            (json!({"enforce": "baseline", "warn": "restricted"}), "baseline:latest restricted:latest", 0),
            (json!({"enforce": "restricted", "warn": "baseline"}), "restricted:latest baseline:latest", 0),
            (json!({"enforce": "strict"}), "restricted:latest privileged:latest", 1),
            (
                json!({"warn": "x", "warn-version": "1.2", "audit": "y", "audit-version": "v1.02"}),
                "privileged:latest privileged:latest",
                4,
            ),
        ];
        for (given, expected, wrong) in table {
            let labels = given.as_object().unwrap().iter();
            let labels =
                labels.map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone())).collect();
            let (policy, errors) = Policy::of(&labels);
            assert_eq!(
                (format!("{} {}", policy.enforce, policy.warn).as_str(), errors.0.len()),
                (expected, wrong),
                "{given}"
            );
        }
        let labels = object(json!({"pod-security.kubernetes.io/enforce": "strict"}));
        assert_eq!(
            Policy::of(&labels).1.to_string(),
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, \
             baseline, restricted"
        );
    }
}
