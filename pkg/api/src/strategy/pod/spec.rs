//! Validation of a pod's spec, alone and in templates: upstream's `ValidatePodSpec`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{affinity, container, place, resources, security, volume};
use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::strategy::rules::{self, At, Rule, formed, in_range};
use crate::strategy::{forms, selector};
use crate::tree::Tree;

/// What the parts of a pod need to know of the whole.
pub(super) struct Pod<'a> {
    /// Its spec.
    pub(super) spec: &'a Object,
    /// Volumes without errors, by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Object>,
    /// Names of resource claims.
    pub(super) claims: BTreeSet<&'a str>,
}

impl Pod<'_> {
    /// Whether root in a container is root on the host.
    pub(super) fn host_users(&self) -> bool {
        self.spec.flag("hostUsers").unwrap_or(true)
    }

    /// Seconds between the request to stop and the end.
    pub(super) fn grace(&self) -> Option<i64> {
        self.spec.int("terminationGracePeriodSeconds")
    }
}

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

const NAMES: &[Rule] = &[
    Rule::Formed("serviceAccountName", forms::subdomain),
    Rule::Formed("nodeName", forms::subdomain),
    Rule::With(|errors, at| {
        if let Some(seconds) = at.object.int("activeDeadlineSeconds") {
            in_range(errors, at.path("activeDeadlineSeconds"), seconds, 1, i64::from(i32::MAX));
        }
    }),
    Rule::Formed("hostname", forms::label),
    Rule::Formed("subdomain", forms::label),
];

/// Checks the spec of a pod (with its metadata) or of a template (without).
pub(super) fn check(errors: &mut Errors, at: &At<'_>, metadata: Option<&Object>) {
    let spec = at.object;
    let mut pod = Pod { spec, volumes: BTreeMap::new(), claims: BTreeSet::new() };
    if pod.grace().is_none() {
        errors.required(at.path("terminationGracePeriodSeconds"), "");
    }
    pod.volumes = volume::check_all(errors, at, metadata);
    pod.claims =
        spec.objects("resourceClaims").map(|claim| claim.text("name")).filter(|name| !name.is_empty()).collect();
    resources::check_claims(errors, at, metadata);
    container::check_all(errors, at, &pod);
    resources::check_pod(errors, at, &pod);
    check_host_ports(errors, at, metadata.is_some());
    rules::check(
        errors,
        at,
        &[Rule::MustBe("restartPolicy", RESTART_POLICIES), Rule::MustBe("dnsPolicy", DNS_POLICIES)],
    );
    selector::check_labels(errors, spec.map("nodeSelector"), &at.path("nodeSelector"));
    security::check_pod(errors, at);
    affinity::check(errors, at);
    check_dns(errors, at);
    for (index, gate) in spec.objects("readinessGates").enumerate() {
        let path = at.path("readinessGates").index(index).child("conditionType");
        formed(errors, &path, gate.text("conditionType"), forms::qualified);
    }
    place::check_gates(errors, at);
    place::check_spread(errors, at);
    check_host_users(errors, at);
    check_hostname_override(errors, at);
    rules::check(errors, at, NAMES);
    place::check_tolerations(errors, at);
    for alias in at.each("hostAliases") {
        formed(errors, &alias.path("ip"), alias.text("ip"), forms::ip);
        for (path, name) in alias.texts("hostnames") {
            formed(errors, &path, name, forms::subdomain);
        }
    }
    rules::check(
        errors,
        at,
        &[
            Rule::Formed("priorityClassName", forms::subdomain),
            Rule::Formed("runtimeClassName", forms::subdomain),
            Rule::OneOf("preemptionPolicy", &["PreemptLowerPriority", "Never"]),
        ],
    );
    if spec.has("overhead") {
        let limits = serde_json::json!({ "limits": spec.map("overhead") });
        if let Value::Object(limits) = limits {
            let overhead = At { path: at.path("overhead"), object: &limits };
            resources::check_requirements(errors, &overhead, &BTreeSet::new());
        }
    }
    check_os(errors, at);
    check_file_keys(errors, at);
}

/// On the host's network, a port of a pod is a port of the host.
fn check_host_ports(errors: &mut Errors, at: &At<'_>, is_pod: bool) {
    if !at.object.is_true("hostNetwork") {
        return;
    }
    for port in at.each("containers").flat_map(|container| container.each("ports")) {
        let (host, own) = (port.object.number("hostPort"), port.object.number("containerPort"));
        if (is_pod || host != 0) && host != own {
            errors.invalid(port.path("hostPort"), host, "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

fn check_dns(errors: &mut Errors, at: &At<'_>) {
    let own = at.enter("dnsConfig");
    if at.text("dnsPolicy") == "None" {
        match &own {
            None => {
                return errors.required(at.path("dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None");
            }
            Some(config) if config.object.list("nameservers").is_empty() => {
                let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                return errors.required(config.path("nameservers"), detail);
            }
            Some(_) => {}
        }
    }
    let Some(config) = own else { return };
    let servers = config.object.list("nameservers");
    if servers.len() > 3 {
        errors.invalid(config.path("nameservers"), servers.to_vec(), "must not have more than 3 nameservers");
    }
    for (path, server) in config.texts("nameservers") {
        formed(errors, &path, server, forms::ip);
    }
    let searches = config.object.list("searches");
    if searches.len() > 32 {
        errors.invalid(config.path("searches"), searches.to_vec(), "must not have more than 32 search paths");
    }
    let length = config.object.texts("searches").map(|search| search.len() + 1).sum::<usize>().saturating_sub(1);
    if length > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(config.path("searches"), searches.to_vec(), detail);
    }
    for (path, search) in config.texts("searches").filter(|(_, search)| *search != ".") {
        formed(errors, &path, search.strip_suffix('.').unwrap_or(search), forms::search_domain);
    }
    for option in config.each("options").filter(|option| option.text("name").is_empty()) {
        errors.required(option.path, "must not be empty");
    }
}

fn check_host_users(errors: &mut Errors, at: &At<'_>) {
    if at.object.flag("hostUsers") == Some(false) {
        for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if at.object.is_true(field) {
                errors.forbidden(at.path(shown), "when `hostUsers` is false");
            }
        }
        for container in container::every(at).filter(|one| !one.object.list("volumeDevices").is_empty()) {
            errors.forbidden(container.path("volumeDevices"), "when `hostUsers` is false");
        }
    }
}

fn check_hostname_override(errors: &mut Errors, at: &At<'_>) {
    let Some(name) = at.object.value("hostnameOverride").and_then(Value::as_str) else { return };
    let path = at.path("hostnameOverride");
    if at.object.is_true("setHostnameAsFQDN") {
        errors.forbidden(path.clone(), "may not be specified when setHostnameAsFQDN is true");
    }
    if at.object.is_true("hostNetwork") {
        errors.forbidden(path.clone(), "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        errors.push(Reason::TooLong, path.clone(), None, "may not be more than 64 bytes");
    }
    formed(errors, &path, name, forms::subdomain);
}

fn check_os(errors: &mut Errors, at: &At<'_>) {
    let Some(os) = at.enter("os") else { return };
    match os.text("name") {
        "" => errors.required(os.path("name"), ""),
        "windows" => {}
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            let own = at.enter("securityContext");
            for context in own.into_iter().chain(container::every(at).filter_map(|one| one.enter("securityContext"))) {
                if context.object.has("windowsOptions") {
                    errors.forbidden(context.path("windowsOptions"), detail);
                }
            }
        }
        other => errors.not_supported(os.path.clone(), other, &["linux", "windows"]),
    }
}

/// A variable can be read from a file only in an `emptyDir`.
fn check_file_keys(errors: &mut Errors, at: &At<'_>) {
    for variable in container::every(at).flat_map(|one| one.each("env")) {
        let Some(name) = variable.object.value("valueFrom.fileKeyRef.volumeName").and_then(Value::as_str) else {
            continue;
        };
        let path = variable.path("valueFrom.fileKeyRef.volumeName");
        match at.object.objects("volumes").find(|volume| volume.text("name") == name) {
            None => not_found(errors, path, name, ""),
            Some(volume) if !volume.has("emptyDir") => {
                errors.invalid(path, name, "referenced volume must be of type emptyDir");
            }
            Some(_) => {}
        }
    }
}

/// The error for a name that refers to nothing.
pub(super) fn not_found(errors: &mut Errors, path: Path, name: &str, detail: &str) {
    errors.push(Reason::NotFound, path, Some(name.into()), detail);
}
