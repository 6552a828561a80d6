//! CustomResourceDefinitions and APIServices.

use serde_json::{Value, json};

use super::admission::check_client;
use super::fill::Fill::{Absent, In, Make, With, Zero};
use super::fill::Fixed::{Int, Text};
use super::row::{METADATA, Row, SPEC};
use super::rules::{At, IMMUTABLE, Rule, check, formed, in_range};
use super::{Context, NameRule, forms};
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::{Meta, object_in};
use crate::tree::{Tree, same};

/// CustomResourceDefinitions.
pub(super) static DEFINITION: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Make("names", &[With(names)]),
            Make("conversion", &[Zero("strategy", Text("None"))]),
            In(
                &["conversion"],
                &[In(&["webhook"], &[In(&["clientConfig"], &[In(&["service"], &[Absent("port", Int(443))])])])],
            ),
        ],
    )],
    check: check_definition,
    check_update: keep_names,
    generation: SPEC,
    needs_revision: true,
    prepare_create: |_, definition| note_stored_version(definition),
    prepare_update: |cx, definition, _| {
        if cx.subresource.is_none() {
            note_stored_version(definition);
        }
    },
    ..Row::PLAIN
};

fn names(names: &mut Object) {
    let kind = names.text("kind").to_owned();
    if names.text("singular").is_empty() && !kind.is_empty() {
        names.insert("singular".into(), kind.to_lowercase().into());
    }
    if names.text("listKind").is_empty() && !kind.is_empty() {
        names.insert("listKind".into(), format!("{kind}List").into());
    }
}

/// Every version that was ever the stored one is on record, for whoever migrates objects.
fn note_stored_version(definition: &mut Object) {
    let stored = definition.objects("spec.versions").find(|version| version.is_true("storage"));
    let Some(name) = stored.map(|version| Value::from(version.text("name"))) else { return };
    match definition.section("status").entry("storedVersions").or_insert_with(|| json!([])) {
        Value::Array(list) if list.contains(&name) => {}
        Value::Array(list) => list.push(name),
        other => *other = json!([name]),
    }
}

/// APIServices.
pub(super) static API_SERVICE: Row = Row {
    fills: &[Make("spec", &[In(&["service"], &[Absent("port", Int(443))])])],
    check: check_service,
    name: NameRule::PathSegment,
    needs_revision: true,
    status_restores: METADATA,
    prepare_create: local_is_available,
    ..Row::PLAIN
};

/// Without a service, the API server answers itself.
fn local_is_available(cx: &Context<'_>, api: &mut Object) {
    if !api.has("spec.service") {
        let condition = json!([{
            "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": cx.now,
            "message": "Local APIServices are always available",
        }]);
        object_in(api.entry("status").or_insert(Value::Null)).insert("conditions".into(), condition);
    }
}

/// The frame of a definition; its schemas are checked by who compiles them.
fn check_definition(_cx: &Context<'_>, errors: &mut Errors, definition: &Object) {
    let spec = At { path: Path::root("spec"), object: definition.map("spec") };
    let (group, plural) = (spec.text("group"), spec.object.text("names.plural"));
    if definition.name() != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(Path::root("metadata").child("name"), definition.name(), detail);
    }
    let faults = forms::subdomain(group);
    if group.is_empty() {
        errors.required(spec.path("group"), "");
    } else if !faults.is_empty() {
        errors.invalid(spec.path("group"), group, faults.join(","));
    } else if !group.contains('.') {
        errors.invalid(spec.path("group"), group, "should be a domain with at least one dot");
    }
    check(errors, &spec, &[Rule::MustBe("scope", &["Cluster", "Namespaced"])]);
    check_versions(errors, &spec);
    check_names(errors, &spec);
    if let Some(conversion) = spec.enter("conversion") {
        check_conversion(errors, &conversion);
    }
    let versions = || spec.object.objects("versions").map(|version| version.text("name"));
    let stored: Vec<_> = definition.texts("status.storedVersions").collect();
    let path = Path::root("status").child("storedVersions");
    for (index, version) in stored.iter().enumerate().filter(|(_, version)| !versions().any(|own| own == **version)) {
        let detail = format!(
            "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions \
             until a storage migration ensures no data remains persisted in {version} and removes {version} from \
             status.storedVersions"
        );
        errors.invalid(path.index(index), *version, detail);
    }
}

fn check_versions(errors: &mut Errors, spec: &At<'_>) {
    let all = || spec.object.list("versions").to_vec();
    let mut names: Vec<&str> = Vec::new();
    for version in spec.each("versions") {
        let name = version.text("name");
        let faults = forms::label1035(name);
        if !faults.is_empty() {
            errors.invalid(version.path("name"), name, faults.join(","));
        }
        if !version.object.has("schema.openAPIV3Schema") {
            errors.required(version.path("schema").child("openAPIV3Schema"), "");
        }
        if names.contains(&name) {
            errors.invalid(spec.path("versions"), all(), "must contain unique version names");
        }
        names.push(name);
        if let Some(scale) = version.enter("subresources").and_then(|own| own.enter("scale")) {
            check(errors, &scale, &[Rule::Required("specReplicasPath"), Rule::Required("statusReplicasPath")]);
        }
        for column in version.each("additionalPrinterColumns") {
            check(
                errors,
                &column,
                &[
                    Rule::Required("name"),
                    Rule::MustBe("type", &["boolean", "date", "integer", "number", "string"]),
                    Rule::Required("jsonPath"),
                ],
            );
        }
    }
    if spec.object.objects("versions").filter(|version| version.is_true("storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(spec.path("versions"), all(), detail);
    }
}

fn check_names(errors: &mut Errors, spec: &At<'_>) {
    let names = At { path: spec.path("names"), object: spec.object.map("names") };
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = names.text(field);
        // Kinds are held to the form of their resources, but for capitals.
        let faults = forms::label1035(&if field.ends_with("ind") { name.to_lowercase() } else { name.to_owned() });
        if name.is_empty() {
            errors.required(names.path(field), "");
        } else if !faults.is_empty() {
            errors.invalid(names.path(field), name, faults.join(","));
        }
    }
    for list in ["shortNames", "categories"] {
        for (path, name) in names.texts(list) {
            formed(errors, &path, name, forms::label1035);
        }
    }
    let (kind, list) = (names.text("kind"), names.text("listKind"));
    if !kind.is_empty() && kind == list {
        errors.invalid(names.path("listKind"), list, "kind and listKind may not be the same");
    }
}

fn check_conversion(errors: &mut Errors, conversion: &At<'_>) {
    check(errors, conversion, &[Rule::MustBe("strategy", &["None", "Webhook"])]);
    let webhook = conversion.enter("webhook");
    match (conversion.text("strategy"), webhook) {
        ("Webhook", Some(webhook)) => {
            match webhook.enter("clientConfig") {
                Some(config) => check_client(errors, &config),
                None => errors.required(webhook.path("clientConfig"), "required when strategy is set to Webhook"),
            }
            check(errors, &webhook, &[Rule::Required("conversionReviewVersions")]);
        }
        ("Webhook", None) => {
            let path = conversion.path("webhook").child("clientConfig");
            errors.required(path, "required when strategy is set to Webhook");
        }
        (_, Some(webhook)) => {
            let detail = "should not be set when strategy is not set to Webhook";
            errors.forbidden(webhook.path, detail);
        }
        _ => {}
    }
}

/// Once names are established, objects are stored under them.
fn keep_names(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    let mut conditions = old.objects("status.conditions");
    if !conditions.any(|one| one.text("type") == "Established" && one.text("status") == "True") {
        return;
    }
    for field in ["group", "scope", "names.kind", "names.plural"] {
        let (new, old) = (new.map("spec").value(field), old.map("spec").value(field));
        if !same(new, old) {
            errors.invalid(Path::root("spec").child(field), new.cloned().unwrap_or_default(), IMMUTABLE);
        }
    }
}

fn check_service(_cx: &Context<'_>, errors: &mut Errors, api: &Object) {
    let spec = At { path: Path::root("spec"), object: api.map("spec") };
    let (group, version) = (spec.text("group"), spec.text("version"));
    let name = format!("{version}.{group}");
    if api.name() != name {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {name:?}");
        errors.invalid(Path::root("metadata").child("name"), api.name(), detail);
    }
    if group.is_empty() && version != "v1" {
        errors.required(spec.path("group"), "only v1 may have an empty group and it better be legacy kube");
    }
    check(errors, &spec, &[Rule::Formed("group", forms::subdomain)]);
    formed(errors, &spec.path("version"), version, forms::label1035);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.object.number(field);
        if !(1..=most).contains(&priority) {
            errors.invalid(spec.path(field), priority, format!("must be positive and less than {most}"));
        }
    }
    let insecure = spec.object.is_true("insecureSkipTLSVerify");
    let bundle = spec.text("caBundle");
    let Some(service) = spec.enter("service") else {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.len() / 4 * 3);
            errors.invalid(spec.path("caBundle"), shown, "local APIServices may not have a caBundle");
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(spec.path("insecureSkipTLSVerify"), true, detail);
        }
        return;
    };
    check(errors, &service, &[Rule::Required("namespace"), Rule::Required("name")]);
    in_range(errors, service.path("port"), service.object.int("port").unwrap_or(443), 1, 65535);
    if insecure && !bundle.is_empty() {
        errors.invalid(spec.path("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
}
