//! Ingresses and IngressClasses.

use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::strategy::fill::Fill::{Absent, In, Make};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check, formed, in_range};
use crate::strategy::{Context, forms};
use crate::tree::{Tree, same};

/// Ingresses.
pub(in crate::strategy) static INGRESS: Row = Row {
    fills: &[Make("status", &[Make("loadBalancer", &[])])],
    check: check_ingress,
    check_create: |_, errors, ingress| {
        let own = ingress.map("metadata.annotations").get(CLASS);
        if let (Some(own), Some(class)) = (own, ingress.value("spec.ingressClassName"))
            && own != class
        {
            let detail = "must match `ingressClassName` when both are specified";
            errors.invalid(Path::root("annotations").child(CLASS), own.clone(), detail);
        }
    },
    check_status: |errors, new, _| {
        let balancer = At { path: Path::root("status").child("loadBalancer"), object: new.map("status.loadBalancer") };
        for ingress in balancer.each("ingress") {
            check(errors, &ingress, &[Rule::Formed("ip", forms::ip), Rule::Formed("hostname", forms::subdomain)]);
            not_an_address(errors, &ingress, "hostname");
        }
    },
    generation: SPEC,
    warn: |ingress, old| {
        let annotated = ingress.map("metadata.annotations").contains_key(CLASS);
        if old.is_none() && annotated && !ingress.has("spec.ingressClassName") {
            return vec![format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead")];
        }
        Vec::new()
    },
    ..Row::PLAIN
};

/// How an Ingress named its class before there was a field.
const CLASS: &str = "kubernetes.io/ingress.class";

/// IngressClasses.
pub(in crate::strategy) static INGRESS_CLASS: Row = Row {
    fills: &[In(&["spec"], &[In(&["parameters"], &[Absent("scope", Text("Cluster"))])])],
    rules: &[Rule::In(
        "spec",
        &[Rule::With(check_controller), Rule::In("parameters", &[Rule::With(check_parameters)])],
    )],
    check_update: |_, errors, new, old| {
        if !same(new.value("spec.controller"), old.value("spec.controller")) {
            let path = Path::root("spec").child("controller");
            errors.invalid(path, new.text("spec.controller"), crate::strategy::rules::IMMUTABLE);
        }
    },
    generation: SPEC,
    ..Row::PLAIN
};

fn not_an_address(errors: &mut Errors, at: &At<'_>, field: &str) {
    if forms::sloppy_ip(at.text(field)).is_some() {
        errors.invalid(at.path(field), at.text(field), "must be a DNS name, not an IP address");
    }
}

/// A host, or all hosts of a domain: `*.example.com`.
fn check_host(errors: &mut Errors, path: &Path, host: &str) {
    formed(errors, path, host, if host.contains('*') { forms::wildcard_subdomain } else { forms::subdomain });
}

fn check_ingress(_cx: &Context<'_>, errors: &mut Errors, ingress: &Object) {
    let spec = At { path: Path::root("spec"), object: ingress.map("spec") };
    let backend = spec.enter("defaultBackend");
    if spec.object.list("rules").is_empty() && backend.is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(spec.path.clone(), spec.object.list("rules").to_vec(), detail);
    }
    if let Some(backend) = backend {
        check_backend(errors, &backend);
    }
    for rule in spec.each("rules") {
        let host = rule.text("host");
        if !host.is_empty() {
            not_an_address(errors, &rule, "host");
            check_host(errors, &rule.path("host"), host);
        }
        if let Some(http) = rule.enter("http") {
            check(errors, &http, &[Rule::Required("paths")]);
            http.each("paths").for_each(|path| check_path(errors, &path));
        }
    }
    for tls in spec.each("tls") {
        tls.texts("hosts").for_each(|(path, host)| check_host(errors, &path, host));
        check(errors, &tls, &[Rule::Formed("secretName", forms::subdomain)]);
    }
    check(errors, &spec, &[Rule::Formed("ingressClassName", forms::subdomain)]);
}

fn check_path(errors: &mut Errors, at: &At<'_>) {
    let path = at.text("path");
    let kind = at.text("pathType");
    match kind {
        "" => return errors.required(at.path("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !path.starts_with('/') {
                errors.invalid(at.path("path"), path, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| path.contains(part)) {
                errors.invalid(at.path("path"), path, format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].into_iter().filter(|end| path.ends_with(end)) {
                errors.invalid(at.path("path"), path, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.starts_with('/') {
                errors.invalid(at.path("path"), path, "must be an absolute path");
            }
        }
        _ => errors.not_supported(at.path("pathType"), kind, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    match at.enter("backend") {
        Some(backend) => check_backend(errors, &backend),
        None => errors.invalid(at.path("backend"), "", "resource or service backend is required"),
    }
}

fn check_backend(errors: &mut Errors, at: &At<'_>) {
    match (at.enter("resource"), at.enter("service")) {
        (Some(_), Some(_)) => {
            errors.invalid(at.path.clone(), "", "cannot set both resource and service backends");
        }
        (Some(resource), None) => check_reference(errors, &resource),
        (None, Some(service)) => {
            check(errors, &service, &[Rule::Named("name", forms::label1035)]);
            let port = service.path("port");
            match (service.object.text("port.name"), service.object.number("port.number")) {
                ("", 0) => errors.required(at.path.clone(), "port name or number is required"),
                ("", number) => in_range(errors, port.child("number"), number, 1, 65535),
                (name, 0) => formed(errors, &port.child("name"), name, forms::port_name),
                _ => errors.invalid(at.path.clone(), "", "cannot set both port name & port number"),
            }
        }
        (None, None) => errors.invalid(at.path.clone(), "", "resource or service backend is required"),
    }
}

fn check_reference(errors: &mut Errors, at: &At<'_>) {
    check(
        errors,
        at,
        &[
            Rule::Formed("apiGroup", forms::subdomain),
            Rule::Named("kind", forms::path_segment),
            Rule::Named("name", forms::path_segment),
        ],
    );
}

fn check_controller(errors: &mut Errors, spec: &At<'_>) {
    let (path, name) = (spec.path("controller"), spec.text("controller"));
    if name.len() > 250 {
        errors.push(Reason::TooLong, path.clone(), None, "may not be more than 250 bytes");
    }
    domain_path(errors, path, name);
}

/// A path within a domain, such as `acme.io/foo`.
pub(in crate::strategy) fn domain_path(errors: &mut Errors, path: Path, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    match text.split_once('/') {
        _ if text.is_empty() => errors.required(path, ""),
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            formed(errors, &path, host, forms::subdomain);
            if !rest.chars().all(plain) {
                let detail = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
                errors.invalid(path, rest, detail);
            }
        }
        _ => errors.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

fn check_parameters(errors: &mut Errors, at: &At<'_>) {
    check_reference(errors, at);
    match at.text("scope") {
        "" => errors.required(at.path("scope"), ""),
        "Namespace" => match at.text("namespace") {
            "" => errors.required(at.path("namespace"), "`parameters.scope` is set to 'Namespace'"),
            name => formed(errors, &at.path("namespace"), name, forms::label),
        },
        "Cluster" if at.object.has("namespace") => {
            errors.forbidden(at.path("namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        other => errors.not_supported(at.path("scope"), other, &["Cluster", "Namespace"]),
    }
}
