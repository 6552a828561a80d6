//! Validation of security contexts.

use std::collections::BTreeSet;

use super::volume::local_path;
use crate::field::{Errors, Reason};
use crate::strategy::rules::{At, Rule, check};
use crate::tree::Tree;

const MOST: i64 = i32::MAX as i64;
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

/// Checks `spec.securityContext`.
pub(super) fn check_pod(errors: &mut Errors, spec: &At<'_>) {
    let Some(context) = spec.enter("securityContext") else { return };
    check(
        errors,
        &context,
        &[
            Rule::Range("fsGroup", 0, MOST),
            Rule::Range("runAsUser", 0, MOST),
            Rule::Range("runAsGroup", 0, MOST),
            Rule::With(|errors, at| {
                for (index, group) in at.object.list("supplementalGroups").iter().enumerate() {
                    let path = at.path("supplementalGroups").index(index);
                    crate::strategy::rules::in_range(errors, path, group.as_i64().unwrap_or_default(), 0, MOST);
                }
            }),
        ],
    );
    if spec.object.is_true("shareProcessNamespace") && spec.object.is_true("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(context.path("shareProcessNamespace"), true, detail);
    }
    check_sysctls(errors, spec, &context);
    check(
        errors,
        &context,
        &[
            Rule::OneOf("fsGroupChangePolicy", &["OnRootMismatch", "Always"]),
            Rule::In("seccompProfile", &[Rule::With(check_seccomp)]),
            Rule::In("appArmorProfile", &[Rule::With(check_app_armor)]),
            Rule::OneOf("supplementalGroupsPolicy", &["Merge", "Strict"]),
            Rule::OneOf("seLinuxChangePolicy", &["Recursive", "MountOption"]),
        ],
    );
}

/// Checks the context of a container, in a pod whose root is or is not the host's.
pub(super) fn check_container(errors: &mut Errors, context: &At<'_>, host_users: bool) {
    check(
        errors,
        context,
        &[
            Rule::Range("runAsUser", 0, MOST),
            Rule::Range("runAsGroup", 0, MOST),
            Rule::OneOf("procMount", &["Default", "Unmasked"]),
        ],
    );
    if host_users && context.text("procMount") == "Unmasked" {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.invalid(context.path("procMount"), "Unmasked", detail);
    }
    check(errors, context, &[Rule::In("seccompProfile", &[Rule::With(check_seccomp)])]);
    if context.object.flag("allowPrivilegeEscalation") == Some(false) {
        if context.object.is_true("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(context.path.clone(), context.as_value(), detail);
        }
        if context.object.texts("capabilities.add").any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(context.path.clone(), context.as_value(), detail);
        }
    }
    check(errors, context, &[Rule::In("appArmorProfile", &[Rule::With(check_app_armor)])]);
}

fn check_seccomp(errors: &mut Errors, at: &At<'_>) {
    let kind = at.text("type");
    match kind {
        "" => errors.required(at.path("type"), "type is required when seccompProfile is set"),
        _ => check(errors, at, &[Rule::OneOf("type", PROFILES)]),
    }
    match (kind, at.object.has("localhostProfile")) {
        ("Localhost", false) => {
            errors.required(at.path("localhostProfile"), "must be set when seccomp type is Localhost");
        }
        ("Localhost", true) => local_path(errors, &at.path("localhostProfile"), at.text("localhostProfile")),
        (_, true) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.invalid(at.path("localhostProfile"), at.as_value(), detail);
        }
        (_, false) => {}
    }
}

fn check_app_armor(errors: &mut Errors, at: &At<'_>) {
    let path = at.path("localhostProfile");
    let profile = at.text("localhostProfile");
    match at.text("type") {
        "Localhost" => {
            if !profile.is_empty() && profile.trim() != profile {
                errors.invalid(path.clone(), profile, "must not be padded with whitespace");
            } else if profile.is_empty() {
                errors.required(path.clone(), "must be set when AppArmor type is Localhost");
            }
            if profile.len() > 4095 {
                errors.push(Reason::TooLong, path, None, "may not be more than 4095 bytes");
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if at.object.has("localhostProfile") {
                errors.invalid(path, profile, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => errors.required(at.path("type"), "type is required when appArmorProfile is set"),
        other => errors.not_supported(at.path("type"), other, PROFILES),
    }
}

const SYSCTL: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_sysctl(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_part = |part: &str| {
        part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || matches!(c, '-' | '_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(is_part)
}

fn check_sysctls(errors: &mut Errors, spec: &At<'_>, context: &At<'_>) {
    let mut names = BTreeSet::new();
    for sysctl in context.each("sysctls") {
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.required(sysctl.path("name"), "");
        } else if !is_sysctl(name) {
            let detail = format!("must have at most 253 characters and match regex {SYSCTL}");
            errors.invalid(sysctl.path("name"), name, detail);
        } else if !names.insert(name) {
            errors.duplicate(sysctl.path("name"), name);
        }
        let dotted = name.replace('/', ".");
        let of_network = dotted.starts_with("net.");
        let of_ipc = dotted.starts_with("fs.mqueue.")
            || ["kernel.shm", "kernel.msg", "kernel.sem"].iter().any(|prefix| dotted.starts_with(prefix));
        if of_network && spec.object.is_true("hostNetwork") {
            errors.invalid(sysctl.path("name"), name, "may not be specified when 'hostNetwork' is true");
        }
        if of_ipc && spec.object.is_true("hostIPC") {
            errors.invalid(sysctl.path("name"), name, "may not be specified when 'hostIPC' is true");
        }
    }
}
