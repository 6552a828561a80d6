//! `admissionregistration.k8s.io`.

use super::fill::Fill::{self, Absent, Each, In, Make};
use super::fill::Fixed::{Int, Map, Text};
use super::row::{METADATA, Row, SPEC};
use super::rules::{At, Rule, check, formed, in_range};
use super::{forms, selector};
use crate::Object;
use crate::field::{Errors, Path};
use crate::tree::{Tree, same};

const RULE: &[Fill] = &[Absent("scope", Text("*"))];
const WEBHOOK: &[Fill] = &[
    Absent("failurePolicy", Text("Fail")),
    Absent("matchPolicy", Text("Equivalent")),
    Absent("namespaceSelector", Map),
    Absent("objectSelector", Map),
    Absent("timeoutSeconds", Int(10)),
    Each(&["rules"], RULE),
    In(&["clientConfig"], &[In(&["service"], &[Absent("port", Int(443))])]),
];
const MATCH: &[Fill] = &[
    Absent("matchPolicy", Text("Equivalent")),
    Absent("namespaceSelector", Map),
    Absent("objectSelector", Map),
    Each(&["resourceRules", "excludeResourceRules"], RULE),
];

/// What both configurations have in common.
const WEBHOOKS: Row = Row {
    check: |_, errors, configuration| check_webhooks(errors, configuration),
    generation: Some(|new, old| !same(new.get("webhooks"), old.get("webhooks"))),
    needs_revision: true,
    ..Row::PLAIN
};

/// ValidatingWebhookConfigurations.
pub(super) static VALIDATING_WEBHOOKS: Row = Row { fills: &[Each(&["webhooks"], WEBHOOK)], ..WEBHOOKS };

/// MutatingWebhookConfigurations.
pub(super) static MUTATING_WEBHOOKS: Row = Row {
    fills: &[Each(&["webhooks"], WEBHOOK), Each(&["webhooks"], &[Absent("reinvocationPolicy", Text("Never"))])],
    rules: &[Rule::Each("webhooks", &[Rule::OneOf("reinvocationPolicy", &["IfNeeded", "Never"])])],
    ..WEBHOOKS
};

/// ValidatingAdmissionPolicies and MutatingAdmissionPolicies. Their expressions are checked by who evaluates them.
pub(super) static POLICY: Row = Row {
    fills: &[Make("spec", &[Absent("failurePolicy", Text("Fail")), In(&["matchConstraints"], MATCH)])],
    rules: &[Rule::In(
        "spec",
        &[
            Rule::OneOf("failurePolicy", &["Fail", "Ignore"]),
            Rule::With(|errors, spec| match spec.enter("matchConstraints") {
                None => errors.required(spec.path("matchConstraints"), ""),
                Some(own) => check_match(errors, &own, true),
            }),
        ],
    )],
    generation: SPEC,
    needs_revision: true,
    status_restores: METADATA,
    ..Row::PLAIN
};

/// The bindings of both.
pub(super) static POLICY_BINDING: Row = Row {
    fills: &[Make("spec", &[In(&["matchResources"], MATCH)])],
    rules: &[Rule::In(
        "spec",
        &[
            Rule::Named("policyName", forms::subdomain),
            Rule::In("matchResources", &[Rule::With(|errors, own| check_match(errors, own, false))]),
        ],
    )],
    generation: SPEC,
    needs_revision: true,
    ..Row::PLAIN
};

const POLICIES: &[Rule] =
    &[Rule::OneOf("failurePolicy", &["Fail", "Ignore"]), Rule::OneOf("matchPolicy", &["Equivalent", "Exact"])];

fn check_webhooks(errors: &mut Errors, configuration: &Object) {
    let mut names: Vec<&str> = Vec::new();
    for hook in At::root(configuration).each("webhooks") {
        check_review_versions(errors, &hook);
        let name = hook.text("name");
        check_name(errors, hook.path("name"), name);
        if names.contains(&name) {
            errors.duplicate(hook.path("name"), name);
        }
        names.push(name);
        hook.each("rules").for_each(|rule| check_rule(errors, &rule));
        check(errors, &hook, POLICIES);
        match hook.text("sideEffects") {
            "" => errors.required(hook.path("sideEffects"), "must specify one of None, NoneOnDryRun"),
            _ => check(errors, &hook, &[Rule::OneOf("sideEffects", &["None", "NoneOnDryRun"])]),
        }
        if let Some(seconds) = hook.object.int("timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(hook.path("timeoutSeconds"), seconds, detail);
        }
        for field in ["namespaceSelector", "objectSelector"] {
            selector::check_in(errors, &hook, field);
        }
        let config = At { path: hook.path("clientConfig"), object: hook.object.map("clientConfig") };
        check_client(errors, &config);
    }
}

fn check_review_versions(errors: &mut Errors, hook: &At<'_>) {
    let path = hook.path("admissionReviewVersions");
    let versions: Vec<_> = hook.object.texts("admissionReviewVersions").collect();
    if versions.is_empty() {
        return errors.required(path, "must specify one of v1, v1beta1");
    }
    for (index, version) in versions.iter().enumerate() {
        if versions.iter().take(index).any(|other| other == version) {
            errors.invalid(path.index(index), *version, "duplicate version");
        } else {
            formed(errors, &path.index(index), version, forms::label1035);
        }
    }
    if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        errors.invalid(path, versions, "must include at least one of v1, v1beta1");
    }
}

/// A fully qualified name: at least three labels.
fn check_name(errors: &mut Errors, path: Path, name: &str) {
    let faults = forms::subdomain(name);
    if name.is_empty() {
        errors.required(path, "");
    } else if !faults.is_empty() {
        errors.invalid(path, name, faults.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

fn check_rule(errors: &mut Errors, rule: &At<'_>) {
    let alone = |field: &str| {
        let all: Vec<_> = rule.object.texts(field).collect();
        all.len() > 1 && all.contains(&"*")
    };
    check(errors, rule, &[Rule::Required("operations")]);
    if alone("operations") {
        let all = rule.object.list("operations").to_vec();
        errors.invalid(rule.path("operations"), all, "if '*' is present, must not specify other operations");
    }
    for (path, operation) in rule.texts("operations").filter(|(_, operation)| !OPERATIONS.contains(operation)) {
        errors.not_supported(path, operation, OPERATIONS);
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        if rule.object.list(field).is_empty() {
            errors.required(rule.path(field), "");
        }
        if alone(field) {
            let detail = format!("if '*' is present, must not specify other {what}");
            errors.invalid(rule.path(field), rule.object.list(field).to_vec(), detail);
        }
    }
    check(errors, rule, &[Rule::Required("resources")]);
    let resources: Vec<_> = rule.object.texts("resources").collect();
    if resources.contains(&"*/*") && resources.len() > 1 {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.invalid(rule.path("resources"), resources.clone(), detail);
    }
    for (path, resource) in rule.texts("resources") {
        if resource.is_empty() {
            errors.required(path, "");
        } else if resource.contains("//") || resource.starts_with('/') || resource.ends_with('/') {
            errors.invalid(path, resource, "must not be a path with empty parts");
        }
    }
    check(errors, rule, &[Rule::OneOf("scope", &["*", "Cluster", "Namespaced"])]);
}

/// Where a webhook is: an URL or a service.
pub(super) fn check_client(errors: &mut Errors, config: &At<'_>) {
    match (config.object.has("url"), config.enter("service")) {
        (true, None) => check_url(errors, config.path("url"), config.text("url")),
        (false, Some(service)) => {
            check(errors, &service, &[Rule::Required("name"), Rule::Required("namespace")]);
            in_range(errors, service.path("port"), service.object.int("port").unwrap_or(443), 1, 65535);
            let path = service.text("path");
            if !path.is_empty() && !path.starts_with('/') {
                errors.invalid(service.path("path"), path, "must start with a '/'");
            }
        }
        _ => errors.required(config.path.clone(), "exactly one of url or service is required"),
    }
}

fn check_url(errors: &mut Errors, path: Path, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some(rest) = url.strip_prefix("https://") else {
        return errors.invalid(path, url, format!("'https' is the only allowed URL scheme{FORM}"));
    };
    if rest.split('/').next().unwrap_or_default().is_empty() {
        errors.invalid(path.clone(), "", format!("host must be specified{FORM}"));
    }
    for (part, what) in [('@', "user information is"), ('#', "fragments are"), ('?', "query parameters are")] {
        if rest.contains(part) {
            errors.invalid(path.clone(), url, format!("{what} not permitted in the URL"));
        }
    }
}

fn check_match(errors: &mut Errors, own: &At<'_>, needs_rules: bool) {
    check(errors, own, &[Rule::OneOf("matchPolicy", &["Equivalent", "Exact"])]);
    for field in ["namespaceSelector", "objectSelector"] {
        selector::check_in(errors, own, field);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        own.each(field).for_each(|rule| check_rule(errors, &rule));
    }
    if needs_rules && own.object.list("resourceRules").is_empty() {
        errors.required(own.path("resourceRules"), "");
    }
}
