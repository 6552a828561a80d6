//! Validation of probes and life cycle hooks.

use serde_json::Value;

use super::spec::Pod;
use crate::field::{Errors, Path};
use crate::strategy::forms;
use crate::strategy::rules::{At, Rule, check, formed, in_range};
use crate::tree::Tree;

const NUMBERS: &[Rule] = &[
    Rule::NonNegative("initialDelaySeconds"),
    Rule::NonNegative("timeoutSeconds"),
    Rule::NonNegative("periodSeconds"),
    Rule::NonNegative("successThreshold"),
    Rule::NonNegative("failureThreshold"),
];

/// Checks hooks and probes of a container that may have them.
pub(super) fn check_all(errors: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    if let Some(lifecycle) = container.enter("lifecycle") {
        for hook in ["postStart", "preStop"].into_iter().filter_map(|hook| lifecycle.enter(hook)) {
            check_handler(errors, &hook, &["exec", "httpGet", "tcpSocket", "sleep"], pod);
        }
        if lifecycle.object.has("stopSignal") {
            check_signal(errors, lifecycle.path("stopSignal"), lifecycle.text("stopSignal"), pod);
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.enter(field) {
            check_probe(errors, &probe, field, pod);
        }
    }
}

fn check_probe(errors: &mut Errors, probe: &At<'_>, field: &str, pod: &Pod<'_>) {
    check_handler(errors, probe, &["exec", "httpGet", "tcpSocket", "grpc"], pod);
    check(errors, probe, NUMBERS);
    let grace = probe.object.int("terminationGracePeriodSeconds");
    if let Some(seconds) = grace.filter(|seconds| *seconds <= 0) {
        errors.invalid(probe.path("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if field == "readinessProbe" {
        if let Some(seconds) = grace {
            let detail = "must not be set for readinessProbes";
            errors.invalid(probe.path("terminationGracePeriodSeconds"), seconds, detail);
        }
    } else if probe.object.number("successThreshold") != 1 {
        errors.invalid(probe.path("successThreshold"), probe.object.number("successThreshold"), "must be 1");
    }
}

/// Exactly one of these says what is done.
fn check_handler(errors: &mut Errors, at: &At<'_>, kinds: &[&str], pod: &Pod<'_>) {
    let mut found = false;
    for (kind, action) in kinds.iter().filter_map(|kind| Some((*kind, at.enter(kind)?))) {
        if found {
            errors.forbidden(action.path, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match kind {
            "exec" => check(errors, &action, &[Rule::Required("command")]),
            "httpGet" => {
                check(errors, &action, &[Rule::Required("path")]);
                check_port(errors, action.path("port"), action.object.value("port"));
                check_scheme(errors, &action);
            }
            "sleep" => check_sleep(errors, &action, pod),
            _ => check_port(errors, action.path("port"), action.object.value("port")),
        }
    }
    if !found {
        errors.required(at.path.clone(), "must specify a handler type");
    }
}

fn check_scheme(errors: &mut Errors, action: &At<'_>) {
    let scheme = action.text("scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(action.path("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.object.objects("httpHeaders") {
        formed(errors, &action.path("httpHeaders"), header.text("name"), forms::header_name);
    }
}

fn check_sleep(errors: &mut Errors, action: &At<'_>, pod: &Pod<'_>) {
    let seconds = action.object.number("seconds");
    if let Some(grace) = pod.grace().filter(|grace| !(0..=*grace).contains(&seconds)) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(action.path.clone(), seconds, detail);
    }
}

/// A port by its number or its name.
pub(in crate::strategy) fn check_port(errors: &mut Errors, path: Path, port: Option<&Value>) {
    match port {
        Some(Value::String(name)) => formed(errors, &path, name, forms::port_name),
        other => in_range(errors, path, other.and_then(Value::as_i64).unwrap_or_default(), 1, 65535),
    }
}

const SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn is_real_time(signal: &str) -> bool {
    let within = |text: &str, sign: char, most: u8| {
        text.is_empty() || text.strip_prefix(sign).and_then(|n| n.parse().ok()).is_some_and(|n| (1..=most).contains(&n))
    };
    signal.strip_prefix("SIGRTMIN").is_some_and(|rest| within(rest, '+', 15))
        || signal.strip_prefix("SIGRTMAX").is_some_and(|rest| within(rest, '-', 14))
}

fn check_signal(errors: &mut Errors, path: Path, signal: &str, pod: &Pod<'_>) {
    match pod.spec.text("os.name") {
        "" => errors.forbidden(path, "may not be set for containers with empty `spec.os.name`"),
        "windows" if !matches!(signal, "SIGKILL" | "SIGTERM") => {
            errors.not_supported(path, signal, &["SIGKILL", "SIGTERM"]);
        }
        "linux" if !SIGNALS.contains(&signal) && !is_real_time(signal) => errors.not_supported(path, signal, SIGNALS),
        _ => {}
    }
}
