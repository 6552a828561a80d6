//! `flowcontrol.apiserver.k8s.io`.

use super::fill::Fill::{Absent, In, Make, Zero};
use super::fill::Fixed::Int;
use super::row::{METADATA, Row, SPEC};
use super::rules::{At, Rule, check, formed};
use super::{Context, forms};
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::tree::Tree;

/// FlowSchemas.
pub(super) static FLOW_SCHEMA: Row = Row {
    fills: &[Make("spec", &[Zero("matchingPrecedence", Int(1000))])],
    check: check_schema,
    generation: SPEC,
    status_restores: METADATA,
    ..Row::PLAIN
};

/// PriorityLevelConfigurations.
pub(super) static PRIORITY_LEVEL: Row = Row {
    fills: &[Make(
        "spec",
        &[
            In(&["exempt"], &[Absent("nominalConcurrencyShares", Int(0)), Absent("lendablePercent", Int(0))]),
            In(
                &["limited"],
                &[
                    Absent("nominalConcurrencyShares", Int(30)),
                    Absent("lendablePercent", Int(0)),
                    In(
                        &["limitResponse"],
                        &[In(
                            &["queuing"],
                            &[Zero("handSize", Int(8)), Zero("queues", Int(64)), Zero("queueLengthLimit", Int(50))],
                        )],
                    ),
                ],
            ),
        ],
    )],
    check: check_level,
    generation: SPEC,
    status_restores: METADATA,
    ..Row::PLAIN
};

/// The greatest precedence; a schema of the greatest is tried last.
const LAST: i64 = 10_000;

fn check_schema(_cx: &Context<'_>, errors: &mut Errors, schema: &Object) {
    let spec = At { path: Path::root("spec"), object: schema.map("spec") };
    let precedence = spec.object.number("matchingPrecedence");
    let detail = match precedence {
        ..1 => "must be a positive value".into(),
        1 if schema.name() != "exempt" => "only the schema named 'exempt' may have matchingPrecedence 1".into(),
        1..=LAST => String::new(),
        _ => format!("must not be greater than {LAST}"),
    };
    if !detail.is_empty() {
        errors.invalid(spec.path("matchingPrecedence"), precedence, detail);
    }
    if let Some(method) = spec.enter("distinguisherMethod") {
        check(errors, &method, &[Rule::MustBe("type", &["ByNamespace", "ByUser"])]);
    }
    let level = spec.path("priorityLevelConfiguration").child("name");
    match spec.object.text("priorityLevelConfiguration.name") {
        "" => errors.required(level, "must reference a priority level"),
        name => formed(errors, &level, name, forms::subdomain),
    }
    for rule in spec.each("rules") {
        if rule.object.list("subjects").is_empty() {
            errors.required(rule.path("subjects"), "subjects must contain at least one value");
        }
        rule.each("subjects").for_each(|subject| check_subject(errors, &subject));
        if rule.object.list("resourceRules").is_empty() && rule.object.list("nonResourceRules").is_empty() {
            let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.required(rule.path.clone(), detail);
        }
        rule.each("resourceRules").for_each(|own| check_resources(errors, &own));
        for own in rule.each("nonResourceRules") {
            check_list(errors, &own, "verbs", "verbs", "verbs must contain at least one value");
            let none = "nonResourceURLs must contain at least one value";
            check_list(errors, &own, "nonResourceURLs", "non-resource URLs", none);
        }
    }
}

/// A list that is not empty, and in which `*` stands alone.
fn check_list(errors: &mut Errors, rule: &At<'_>, field: &str, what: &str, none: &str) {
    let all: Vec<_> = rule.object.texts(field).collect();
    if all.is_empty() {
        errors.required(rule.path(field), none);
    } else if all.len() > 1 && all.contains(&"*") {
        errors.invalid(rule.path(field), all, format!("if '*' is present, must not specify other {what}"));
    }
}

fn check_resources(errors: &mut Errors, rule: &At<'_>) {
    check_list(errors, rule, "verbs", "verbs", "verbs must contain at least one value");
    check_list(errors, rule, "apiGroups", "api groups", "resource rules must supply at least one api group");
    check_list(errors, rule, "resources", "resources", "resource rules must supply at least one resource");
    let namespaces: Vec<_> = rule.texts("namespaces").collect();
    if !namespaces.is_empty() || !rule.object.is_true("clusterScope") {
        let none = "resource rules that are not cluster scoped must supply at least one namespace";
        check_list(errors, rule, "namespaces", "namespaces", none);
    }
    for (path, name) in namespaces.iter().filter(|(_, name)| *name != "*") {
        for fault in forms::label(name) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {fault}");
            errors.invalid(path.clone(), *name, detail);
        }
    }
}

const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn check_subject(errors: &mut Errors, subject: &At<'_>) {
    let kind = subject.text("kind");
    let Some((_, field)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        return errors.not_supported(subject.path("kind"), kind, &SUBJECTS.map(|(known, _)| known));
    };
    match subject.enter(field) {
        None => {
            errors.required(subject.path(field), format!("{field} is required when subject kind is '{kind}'"));
        }
        Some(own) => {
            check(errors, &own, &[Rule::Required("name")]);
            if kind == "ServiceAccount" && own.text("namespace").is_empty() {
                errors.required(own.path("namespace"), "must specify namespace for service account");
            }
        }
    }
    for (known, other) in SUBJECTS.iter().filter(|(_, other)| other != field && subject.object.has(other)) {
        let detail = format!("{other} is forbidden when subject kind is not '{known}'");
        errors.forbidden(subject.path(other), detail);
    }
}

fn check_level(_cx: &Context<'_>, errors: &mut Errors, level: &Object) {
    let spec = At { path: Path::root("spec"), object: level.map("spec") };
    let kind = spec.text("type");
    if (level.name() == "exempt") != (kind == "Exempt") {
        errors.invalid(spec.path("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if spec.object.has("limited") {
                errors.forbidden(spec.path("limited"), "must be nil if the type is not Limited");
            }
        }
        "Limited" => {
            if spec.object.has("exempt") {
                errors.forbidden(spec.path("exempt"), "must be nil if the type is Limited");
            }
            match spec.enter("limited") {
                None => errors.required(spec.path("limited"), "must not be empty when type is Limited"),
                Some(limited) => check_response(errors, &limited),
            }
        }
        other => errors.not_supported(spec.path("type"), other, &["Exempt", "Limited"]),
    }
    for shares in ["exempt", "limited"].into_iter().filter_map(|field| spec.enter(field)) {
        let own = shares.object.number("nominalConcurrencyShares");
        if own < 0 {
            errors.invalid(shares.path("nominalConcurrencyShares"), own, "must be a non-negative integer");
        }
        check(errors, &shares, &[Rule::Range("lendablePercent", 0, 100)]);
    }
}

fn check_response(errors: &mut Errors, limited: &At<'_>) {
    let Some(response) = limited.enter("limitResponse") else {
        return errors.not_supported(limited.path("limitResponse").child("type"), "", &["Queue", "Reject"]);
    };
    match (response.text("type"), response.enter("queuing")) {
        ("Reject", Some(queuing)) => {
            errors.forbidden(queuing.path, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(response.path("queuing"), detail);
        }
        ("Queue", Some(queuing)) => {
            for field in ["queueLengthLimit", "queues", "handSize"] {
                if queuing.object.number(field) <= 0 {
                    errors.invalid(queuing.path(field), queuing.object.number(field), "must be positive");
                }
            }
            let (hand, queues) = (queuing.object.number("handSize"), queuing.object.number("queues"));
            if hand > queues {
                let detail = format!("should not be greater than queues ({queues})");
                errors.invalid(queuing.path("handSize"), hand, detail);
            }
        }
        ("Reject", None) => {}
        (other, _) => errors.not_supported(response.path("type"), other, &["Queue", "Reject"]),
    }
}
