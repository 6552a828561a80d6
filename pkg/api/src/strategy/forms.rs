//! What texts must look like, with the messages of `k8s.io/apimachinery/pkg/util/validation`. Each function gives a message
//! per fault, and none for a text that is well formed.
//!
//! The messages name the regular expressions that upstream uses; here the same languages are recognized by hand.

use std::net::IpAddr;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

fn explained(message: &str, expression: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    let examples = if examples.is_empty() { String::new() } else { format!("e.g. {}", examples.join(" or ")) };
    format!("{message} ({examples}regex used for validation is '{expression}')")
}

/// Whether `text` is not empty, starts with `first`, ends with `last` and has only `inner` between.
fn shaped(text: &str, first: fn(char) -> bool, inner: fn(char) -> bool, last: fn(char) -> bool) -> bool {
    text.starts_with(first) && text.ends_with(last) && text.chars().all(inner)
}

fn lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn label_char(c: char) -> bool {
    lower_or_digit(c) || c == '-'
}

fn is_label(text: &str) -> bool {
    shaped(text, lower_or_digit, label_char, lower_or_digit)
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// RFC 1123 label.
pub(super) fn label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63));
    }
    if !is_label(text) {
        faults.push(if is_subdomain(text) {
            "must not contain dots".into()
        } else {
            explained(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    faults
}

/// RFC 1123 subdomain.
pub(super) fn subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    if !is_subdomain(text) {
        faults.push(explained(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            &format!("{LABEL}(\\.{LABEL})*"),
            &["example.com"],
        ));
    }
    faults
}

/// A subdomain that may start with `*.`.
pub(super) fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        faults.push(explained(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{LABEL}(\\.{LABEL})*"),
            &["*.example.com"],
        ));
    }
    faults
}

/// A search domain: a subdomain in which labels may hold and start with underscores.
pub(super) fn search_domain(text: &str) -> Vec<String> {
    const PART: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let is_part = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        shaped(part, lower_or_digit, |c| label_char(c) || c == '_', lower_or_digit)
    };
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    if !text.split('.').all(is_part) {
        faults.push(explained(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            &format!("{PART}(\\.{PART})*"),
            &["example.com"],
        ));
    }
    faults
}

/// RFC 1035 label.
pub(super) fn label1035(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63));
    }
    if !shaped(text, |c| c.is_ascii_lowercase(), label_char, lower_or_digit) {
        faults.push(explained(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    faults
}

fn is_key_name(text: &str) -> bool {
    let edge: fn(char) -> bool = |c| c.is_ascii_alphanumeric();
    shaped(text, edge, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'), edge)
}

/// A qualified name such as a label's key: `example.com/name` or `name`.
pub(super) fn qualified(text: &str) -> Vec<String> {
    const MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let parts: Vec<_> = text.split('/').collect();
    let mut faults = Vec::new();
    let name = match *parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            match prefix {
                "" => faults.push("prefix part must be non-empty".into()),
                _ => faults.extend(subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}"))),
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                explained(MESSAGE, KEY, EXAMPLES)
            )];
        }
    };
    match name.len() {
        0 => faults.push("name part must be non-empty".into()),
        64.. => faults.push(format!("name part {}", too_long(63))),
        _ => {}
    }
    if !is_key_name(name) {
        faults.push(format!("name part {}", explained(MESSAGE, KEY, EXAMPLES)));
    }
    faults
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63));
    }
    if !text.is_empty() && !is_key_name(text) {
        faults.push(explained(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({KEY})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    faults
}

/// A name that stands in a path on its own, as those of RBAC: `system:node`.
pub(super) fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    let faults = ["/", "%"].into_iter().filter(|part| text.contains(part));
    faults.map(|part| format!("may not contain '{part}'")).collect()
}

/// The name of a port of a container.
pub(super) fn port_name(text: &str) -> Vec<String> {
    let faults = [
        (text.len() > 15, too_long(15)),
        (
            text.is_empty() || !text.chars().all(label_char),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into(),
        ),
        (!text.contains(|c: char| c.is_ascii_lowercase()), "must contain at least one letter (a-z)".into()),
        (text.contains("--"), "must not contain consecutive hyphens".into()),
        (text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen".into()),
    ];
    faults.into_iter().filter(|(holds, _)| *holds).map(|(_, fault)| fault).collect()
}

/// The name of an environment variable.
pub(super) fn env_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.is_empty() {
        faults.push("environment variable name must be non-empty".into());
    }
    if text.chars().any(|c| !(c.is_ascii_graphic() || c == ' ') || c == '=') {
        let fault = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        faults.push(fault.into());
    }
    faults
}

/// A key of a ConfigMap or Secret.
pub(super) fn config_key(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || !text.chars().all(plain) {
        faults.push(explained(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => faults.push("must not be '.'".into()),
        ".." => faults.push("must not be '..'".into()),
        _ if text.starts_with("..") => faults.push("must not start with '..'".into()),
        _ => {}
    }
    faults
}

/// The name of an HTTP header.
pub(super) fn header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![explained(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A number of percents: `25%`.
pub(super) fn percent(text: &str) -> Vec<String> {
    let number = text.strip_suffix('%').unwrap_or_default();
    if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![explained(message, "[0-9]+%", &["1%", "93%"])]
}

/// An address of either family. Leading zeros are tolerated, as in all fields that are older than the strict rule.
pub(super) fn ip(text: &str) -> Vec<String> {
    match sloppy_ip(text) {
        Some(_) => Vec::new(),
        None => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
    }
}

/// A range in CIDR notation.
pub(super) fn cidr(text: &str) -> Vec<String> {
    let fits = |(address, bits): (&str, &str)| {
        let most = if sloppy_ip(address)?.is_ipv4() { 32 } else { 128 };
        bits.parse::<u8>().ok().filter(|bits| *bits <= most)
    };
    match text.split_once('/').and_then(fits) {
        Some(_) => Vec::new(),
        None => vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()],
    }
}

/// An address in which the parts of an IPv4 address may have leading zeros, which upstream reads as decimal.
pub(super) fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let parts: Vec<_> = text.split('.').map(|part| part.trim_start_matches('0')).collect();
    let whole = text.split('.').all(|part| !part.is_empty());
    let parts: Vec<_> = parts.into_iter().map(|part| if part.is_empty() { "0" } else { part }).collect();
    whole.then(|| parts.join(".").parse().ok()).flatten()
}

/// The name of a signer: `example.com/name`.
pub(super) fn signer(text: &str) -> Vec<String> {
    let Some((domain, path)) = text.split_once('/').filter(|(_, path)| !path.is_empty() && !path.contains('/')) else {
        return vec!["must be a fully qualified domain and path of the form 'example.com/signer-name'".into()];
    };
    let mut faults = subdomain(domain);
    if domain.split('.').count() < 2 {
        faults.push("should be a domain with at least two segments separated by dots".into());
    }
    faults.extend(subdomain(path));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(
            label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(
            percent("a"),
            [
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            ]
        );
        assert_eq!(qualified("/a"), ["prefix part must be non-empty"]);
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
    }

    #[test]
    fn forms_take_and_refuse() {
        type Cases = &'static [(fn(&str) -> Vec<String>, &'static [&'static str], &'static [&'static str])];
        const CASES: Cases = &[
            (label, &["a", "1-a"], &["", "-a", "a-", "A", "a_b"]),
            (subdomain, &["a.b", "a"], &["", ".a", "a..b", "A.b"]),
            (wildcard_subdomain, &["*.a.b"], &["a.b", "*.", "*a"]),
            (search_domain, &["_tcp.a", "a_b.c"], &["_", "a_", ""]),
            (label1035, &["a1"], &["1a", ""]),
            (qualified, &["a", "a.b/C_d", "A.b"], &["", "a/", "a/b/c", "-a", "A/b"]),
            (label_value, &["", "A.b_c-1"], &["-a", "a b"]),
            (path_segment, &["system:node", "a"], &["a/b", ".", "%"]),
            (port_name, &["http", "a-1"], &["", "1", "a--b", "-a", "waytoolongportname"]),
            (env_name, &["A", "1 b.c"], &["", "a=b", "ä"]),
            (config_key, &["a.b-c_D", ".a"], &["", "a b", ".", "..", "..a"]),
            (header_name, &["X-A"], &["", "a b"]),
            (ip, &["10.0.0.1", "010.0.0.1", "::1"], &["", "10.0.0", "10..0.1", "a", "256.0.0.1"]),
            (cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "/8", "10.0.0.0/-1"]),
            (signer, &["example.com/a"], &["a", "example.com", "a/b/c"]),
        ];
        for (form, good, bad) in CASES {
            good.iter().for_each(|text| assert_eq!(form(text), Vec::<String>::new(), "{text}"));
            bad.iter().for_each(|text| assert!(!form(text).is_empty(), "{text}"));
        }
    }
}
