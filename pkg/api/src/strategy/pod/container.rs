//! Validation of containers: ports, hooks, probes and what they have in common.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::{Pod, not_found};
use super::{env, mount, probe, resources, security};
use crate::Object;
use crate::field::Errors;
use crate::strategy::forms;
use crate::strategy::rules::{At, Rule, check, formed, in_range};
use crate::tree::{Tree, same};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
pub(in crate::strategy) const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// All containers of a spec, in upstream's order of visits.
pub(super) fn every<'a>(at: &At<'a>) -> impl Iterator<Item = At<'a>> + use<'a> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| at.each(list));
    lists.into_iter().flatten()
}

/// Checks the three lists of containers.
pub(super) fn check_all(errors: &mut Errors, at: &At<'_>, pod: &Pod<'_>) {
    check_regular(errors, at, pod);
    check_init(errors, at, pod);
    check_ephemeral(errors, at, pod);
}

fn check_regular(errors: &mut Errors, at: &At<'_>, pod: &Pod<'_>) {
    if at.object.list("containers").is_empty() {
        return errors.required(at.path("containers"), "");
    }
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for container in at.each("containers") {
        check_common(errors, &container, pod);
        let name = container.text("name");
        if !names.insert(name) {
            errors.duplicate(container.path("name"), name);
        }
        probe::check_all(errors, &container, pod);
        check_restart_rules(errors, &container);
    }
    for container in at.each("containers") {
        check_host_ports(errors, &container, &mut ports);
    }
}

fn check_init(errors: &mut Errors, at: &At<'_>, pod: &Pod<'_>) {
    const LIFE: [&str; 4] = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
    let mut names: BTreeSet<_> = at.object.objects("containers").map(|container| container.text("name")).collect();
    for container in at.each("initContainers") {
        check_common(errors, &container, pod);
        let is_sidecar = container.text("restartPolicy") == "Always";
        if !container.object.has("restartPolicy") {
            if !container.object.list("restartPolicyRules").is_empty() {
                let detail = "must specify restartPolicy when restart rules are used";
                errors.required(container.path("restartPolicy"), detail);
            }
        } else if !is_sidecar {
            check_restart_rules(errors, &container);
        } else if !container.object.list("restartPolicyRules").is_empty() {
            let detail = "restartPolicyRules are not allowed for init containers with restart policy Always";
            errors.forbidden(container.path("restartPolicyRules"), detail);
        }
        let name = container.text("name");
        if !names.insert(name) {
            errors.duplicate(container.path("name"), name);
        }
        check_host_ports(errors, &container, &mut BTreeSet::new());
        if is_sidecar {
            probe::check_all(errors, &container, pod);
        } else {
            for field in LIFE.into_iter().filter(|field| container.object.has(field)) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(container.path(field), detail);
            }
        }
    }
}

/// Fields that debugging containers may have.
const EPHEMERAL_FIELDS: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

fn check_ephemeral(errors: &mut Errors, at: &At<'_>, pod: &Pod<'_>) {
    let regular = || at.object.objects("containers").chain(at.object.objects("initContainers"));
    let others: BTreeSet<_> = regular().map(|container| container.text("name")).collect();
    let mut names = others.clone();
    for container in at.each("ephemeralContainers") {
        check_common(errors, &container, pod);
        check_image(errors, &container);
        let (name, target) = (container.text("name"), container.text("targetContainerName"));
        if !names.insert(name) {
            errors.duplicate(container.path("name"), name);
        }
        if !target.is_empty() && !others.contains(target) {
            not_found(errors, container.path("targetContainerName"), target, "");
        }
        let empty = Value::Object(Object::new());
        let is_set = |value: &Value| !same(Some(value), None) && *value != empty;
        for (field, _) in container.object.iter().filter(|(_, value)| is_set(value)) {
            if !EPHEMERAL_FIELDS.contains(&field.as_str()) {
                errors.forbidden(container.path(field), "cannot be set for an Ephemeral Container");
            }
        }
        for mount in container.each("volumeMounts") {
            for field in ["subPath", "subPathExpr"].into_iter().filter(|field| !mount.text(field).is_empty()) {
                errors.forbidden(mount.path(field), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

/// The rule that pods, but not templates, are held to: an image's name has no blanks around it.
pub(super) fn check_image(errors: &mut Errors, container: &At<'_>) {
    let image = container.text("image");
    if image.trim() != image {
        errors.invalid(container.path("image"), image, "must not have leading or trailing whitespace");
    }
}

fn check_common(errors: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    check(
        errors,
        container,
        &[
            Rule::Named("name", forms::label),
            Rule::Required("image"),
            Rule::MustBe("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
        ],
    );
    check_ports(errors, container);
    env::check(errors, container);
    mount::check(errors, container, pod);
    check(errors, container, &[Rule::MustBe("imagePullPolicy", PULL_POLICIES)]);
    if let Some(requirements) = container.enter("resources") {
        resources::check_requirements(errors, &requirements, &pod.claims);
    }
    check_resize(errors, container, pod);
    if let Some(context) = container.enter("securityContext") {
        security::check_container(errors, &context, pod.host_users());
    }
}

fn check_ports(errors: &mut Errors, container: &At<'_>) {
    let mut names = BTreeSet::new();
    for port in container.each("ports") {
        let name = port.text("name");
        if !name.is_empty() {
            let faults = forms::port_name(name);
            if faults.is_empty() && !names.insert(name) {
                errors.duplicate(port.path("name"), name);
            }
            faults.into_iter().for_each(|fault| errors.invalid(port.path("name"), name, fault));
        }
        match port.object.number("containerPort") {
            0 => errors.required(port.path("containerPort"), ""),
            number => in_range(errors, port.path("containerPort"), number, 1, 65535),
        }
        match port.object.number("hostPort") {
            0 => {}
            number => in_range(errors, port.path("hostPort"), number, 1, 65535),
        }
        check(errors, &port, &[Rule::MustBe("protocol", PROTOCOLS)]);
        if !port.text("hostIP").is_empty() {
            formed(errors, &port.path("hostIP"), port.text("hostIP"), forms::ip);
        }
    }
}

fn check_host_ports(errors: &mut Errors, container: &At<'_>, taken: &mut BTreeSet<String>) {
    for port in container.each("ports").filter(|port| port.object.number("hostPort") != 0) {
        let place = format!("{}/{}/{}", port.text("protocol"), port.text("hostIP"), port.object.number("hostPort"));
        if taken.contains(&place) {
            errors.duplicate(port.path("hostPort"), place);
        } else {
            taken.insert(place);
        }
    }
}

fn check_resize(errors: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    let mut seen = BTreeSet::new();
    let path = container.path("resizePolicy");
    for policy in container.each("resizePolicy") {
        let (name, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(name) {
            errors.duplicate(policy.path.clone(), name);
        }
        match name {
            "cpu" | "memory" => {}
            "" => errors.required(path.clone(), ""),
            _ => errors.not_supported(path.clone(), name, &["cpu", "memory"]),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(path.clone(), ""),
            _ => errors.not_supported(path.clone(), restart, &["NotRequired", "RestartContainer"]),
        }
        if pod.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(path.clone(), restart, detail);
        }
    }
}

fn check_restart_rules(errors: &mut Errors, container: &At<'_>) {
    let rules = container.object.list("restartPolicyRules");
    if !container.object.has("restartPolicy") {
        if !rules.is_empty() {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.required(container.path("restartPolicy"), detail);
        }
    } else {
        check(errors, container, &[Rule::OneOf("restartPolicy", &["Always", "Never", "OnFailure"])]);
    }
    for rule in container.each("restartPolicyRules") {
        if rule.text("action") != "Restart" {
            errors.not_supported(rule.path("action"), rule.text("action"), &["Restart"]);
        }
        match rule.enter("exitCodes") {
            None => errors.required(rule.path("exitCodes"), "must be specified"),
            Some(codes) if !matches!(codes.text("operator"), "In" | "NotIn") => {
                errors.not_supported(codes.path("operator"), codes.text("operator"), &["In", "NotIn"]);
            }
            Some(_) => {}
        }
    }
}
