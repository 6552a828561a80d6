//! Validation of environment variables and of what they are read from.

use super::resources::quantity;
use super::volume::no_backsteps;
use crate::field::Errors;
use crate::quantity::Quantity;
use crate::strategy::forms;
use crate::strategy::rules::{At, Rule, check as check_rules, formed};
use crate::tree::Tree;

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

const KEY: &[Rule] = &[
    Rule::With(|errors, at| formed(errors, &at.path("name"), at.text("name"), forms::subdomain)),
    Rule::Named("key", forms::config_key),
];
const FILE_KEY: &[Rule] = &[
    Rule::Named("key", forms::env_name),
    Rule::Named("volumeName", forms::label),
    Rule::Required("path"),
    Rule::With(|errors, at| no_backsteps(errors, at.path("path"), at.text("path"))),
];

/// Checks `env` and `envFrom`.
pub(super) fn check(errors: &mut Errors, container: &At<'_>) {
    for variable in container.each("env") {
        check_rules(errors, &variable, &[Rule::Named("name", forms::env_name)]);
        if let Some(source) = variable.enter("valueFrom") {
            check_source(errors, &source, variable.text("value"));
        }
    }
    for source in container.each("envFrom") {
        check_rules(
            errors,
            &source,
            &[
                Rule::Formed("prefix", forms::env_name),
                Rule::In("configMapRef", &[Rule::Named("name", forms::subdomain)]),
                Rule::In("secretRef", &[Rule::Named("name", forms::subdomain)]),
            ],
        );
        match (source.object.has("configMapRef"), source.object.has("secretRef")) {
            (false, false) => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.invalid(container.path("envFrom"), "", detail);
            }
            (true, true) => {
                let detail = "may not have more than one field specified at a time";
                errors.invalid(container.path("envFrom"), "", detail);
            }
            _ => {}
        }
    }
}

fn check_source(errors: &mut Errors, source: &At<'_>, value: &str) {
    let mut count = 0;
    for field in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let Some(at) = source.enter(field) else { continue };
        count += 1;
        match field {
            "fieldRef" => check_field(errors, &at, FIELDS),
            "resourceFieldRef" => check_resource(errors, &at, false),
            "fileKeyRef" => check_rules(errors, &at, FILE_KEY),
            _ => check_rules(errors, &at, KEY),
        }
    }
    let detail = match count {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(source.path.clone(), "", detail);
}

/// Checks a reference to a field of the pod: one of `known`, or a label or annotation by its key.
pub(super) fn check_field(errors: &mut Errors, at: &At<'_>, known: &[&str]) {
    check_rules(errors, at, &[Rule::Required("apiVersion")]);
    let field = at.text("fieldPath");
    if field.is_empty() {
        return errors.required(at.path("fieldPath"), "");
    }
    match field.strip_suffix("']").and_then(|field| field.split_once("['")) {
        Some(("metadata.annotations", key)) => formed(errors, &at.path, &key.to_lowercase(), forms::qualified),
        Some(("metadata.labels", key)) => formed(errors, &at.path, key, forms::qualified),
        Some((field, _)) => errors.invalid(at.path.clone(), field, "does not support subscript"),
        None if known.contains(&field) => {}
        None if convertible(field) => errors.not_supported(at.path("fieldPath"), field, known),
        None => {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.invalid(at.path("fieldPath"), field, detail);
        }
    }
}

/// Field labels that upstream knows at all, whether or not they may be used here.
fn convertible(field: &str) -> bool {
    const OTHERS: &[&str] = &[
        "metadata.annotations",
        "metadata.labels",
        "spec.restartPolicy",
        "spec.schedulerName",
        "status.phase",
        "spec.host",
    ];
    FIELDS.contains(&field) || OTHERS.contains(&field)
}

/// Checks a reference to a container's resources; in a volume it must say of which container.
pub(super) fn check_resource(errors: &mut Errors, at: &At<'_>, in_volume: bool) {
    let resource = at.text("resource");
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && at.text("containerName").is_empty() {
        errors.required(at.path("containerName"), "");
    } else if resource.is_empty() {
        errors.required(at.path("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.not_supported(at.path("resource"), resource, RESOURCES);
    }
    check_divisor(errors, at, resource, huge);
}

const SIZES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

fn check_divisor(errors: &mut Errors, at: &At<'_>, resource: &str, huge: bool) {
    let divisor = at.object.value("divisor").and_then(quantity).filter(|divisor: &Quantity| !divisor.is_zero());
    let Some(divisor) = divisor.map(|divisor| divisor.to_string()) else { return };
    let (known, shown, what): (&[&str], _, _) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"], "1m and 1", "cpu"),
        Some("memory") => (SIZES, "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei", "memory"),
        Some("ephemeral-storage") => {
            (SIZES, "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei", "local ephemeral storage")
        }
        _ if huge => (SIZES, "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei", "hugepages"),
        _ => return,
    };
    if !known.contains(&divisor.as_str()) {
        let detail = format!("only divisor's values {shown} are supported with the {what} resource");
        errors.invalid(at.path("divisor"), resource, detail);
    }
}
