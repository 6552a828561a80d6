//! `certificates.k8s.io`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::row::Row;
use super::rules::{At, IMMUTABLE, Rule, formed};
use super::{Context, NameRule, forms};
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::tree::{Tree, objects_mut};

/// CertificateSigningRequests.
pub(super) static SIGNING_REQUEST: Row = Row {
    prepare_create,
    prepare_update,
    check: check_request,
    check_update: |cx, errors, new, old| {
        if cx.subresource == Some("approval") {
            check_conditions(errors, new);
            keep_decisions(errors, new, old);
        }
    },
    check_status: |errors, new, old| {
        check_conditions(errors, new);
        keep_decisions(errors, new, old);
        if !old.text("status.certificate").is_empty()
            && new.text("status.certificate") != old.text("status.certificate")
        {
            let path = Path::root("status").child("certificate");
            errors.forbidden(path, "updates may not set certificate content");
        }
    },
    ..Row::PLAIN
};

/// ClusterTrustBundles.
pub(super) static TRUST_BUNDLE: Row = Row {
    rules: &[Rule::In("spec", &[Rule::Formed("signerName", forms::signer), Rule::Required("trustBundle")])],
    check_update: |_, errors, new, old| {
        if new.text("spec.signerName") != old.text("spec.signerName") {
            errors.invalid(Path::root("spec").child("signerName"), new.text("spec.signerName"), IMMUTABLE);
        }
    },
    name: NameRule::PathSegment,
    needs_revision: true,
    ..Row::PLAIN
};

/// A request is made in the name of who sends it, whatever it says.
fn prepare_create(cx: &Context<'_>, request: &mut Object) {
    let user = cx.user;
    let spec = request.section("spec");
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".into(), user.username.clone().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        let extra = user.extra.iter().map(|(key, values)| (key.clone(), Value::from(values.clone())));
        spec.insert("extra".into(), Value::Object(extra.collect()));
    }
}

/// The spec is what was asked for and never changes; conditions get their times; only `approval` and `status` may write
/// what they are for.
fn prepare_update(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if let Some(spec) = old.get("spec") {
        new.insert("spec".into(), spec.clone());
    }
    match cx.subresource {
        Some("approval") => {
            date_conditions(cx, new, old);
            let conditions = new.value("status.conditions").cloned();
            new.insert("status".into(), old.get("status").cloned().unwrap_or_else(|| json!({})));
            if let Some(conditions) = conditions {
                new.section("status").insert("conditions".into(), conditions);
            }
        }
        Some("status") => {
            keep_decision(new, old);
            date_conditions(cx, new, old);
        }
        _ => {}
    }
}

const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// A signer can neither add nor remove an approval or a denial.
fn keep_decision(new: &mut Object, old: &Object) {
    let is_decision = |condition: &&Object| DECISIONS.contains(&condition.text("type"));
    let own = new.objects("status.conditions").filter(|condition| !is_decision(condition)).cloned();
    let kept = old.objects("status.conditions").filter(is_decision).cloned();
    let conditions: Vec<Value> = kept.chain(own).map(Value::Object).collect();
    if !conditions.is_empty() {
        new.section("status").insert("conditions".into(), conditions.into());
    }
}

fn date_conditions(cx: &Context<'_>, new: &mut Object, old: &Object) {
    let before: Vec<Object> = old.objects("status.conditions").cloned().collect();
    for condition in objects_mut(new, "status.conditions") {
        if condition.text("lastUpdateTime").is_empty() {
            condition.insert("lastUpdateTime".into(), cx.now.into());
        }
        if condition.text("lastTransitionTime").is_empty() {
            let alike = |other: &&Object| {
                other.text("type") == condition.text("type") && other.text("status") == condition.text("status")
            };
            let time = before.iter().find(alike).map_or(cx.now, |other| other.text("lastTransitionTime"));
            let time = Value::from(time);
            condition.insert("lastTransitionTime".into(), time);
        }
    }
}

/// What a key may be used for.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn check_request(_cx: &Context<'_>, errors: &mut Errors, request: &Object) {
    let spec = At { path: Path::root("spec"), object: request.map("spec") };
    let pem = STANDARD.decode(spec.text("request")).unwrap_or_default();
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        errors.invalid(spec.path("request"), spec.text("request"), detail);
    }
    let usages: Vec<_> = spec.texts("usages").collect();
    if usages.is_empty() {
        errors.required(spec.path("usages"), "");
    }
    for (path, usage) in usages.iter().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.not_supported(path.clone(), *usage, USAGES);
    }
    for (index, (path, usage)) in usages.iter().enumerate() {
        if usages.iter().take(index).any(|(_, other)| other == usage) {
            errors.duplicate(path.clone(), *usage);
        }
    }
    match spec.text("signerName") {
        "" => errors.required(spec.path("signerName"), ""),
        name @ "kubernetes.io/legacy-unknown" => {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.invalid(spec.path("signerName"), name, detail);
        }
        name => formed(errors, &spec.path("signerName"), name, forms::signer),
    }
    if let Some(seconds) = spec.object.int("expirationSeconds").filter(|seconds| *seconds < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(spec.path("expirationSeconds"), seconds, detail);
    }
}

fn check_conditions(errors: &mut Errors, request: &Object) {
    let status = At { path: Path::root("status"), object: request.map("status") };
    let mut seen: Vec<&str> = Vec::new();
    for condition in status.each("conditions") {
        let (kind, state) = (condition.text("type"), condition.text("status"));
        match (kind, state) {
            ("", _) => errors.required(condition.path("type"), ""),
            (_, "") => errors.required(condition.path("status"), ""),
            ("Approved" | "Denied" | "Failed", state) if state != "True" => {
                errors.not_supported(condition.path("status"), state, &["True"]);
            }
            _ => {}
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(&other) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(condition.path("type"), kind, detail);
        }
        if seen.contains(&kind) {
            errors.duplicate(condition.path("type"), kind);
        }
        seen.push(kind);
    }
}

/// Who approved, denied or failed a request cannot take that back.
fn keep_decisions(errors: &mut Errors, new: &Object, old: &Object) {
    let has = |request: &Object, kind: &str| request.objects("status.conditions").any(|one| one.text("type") == kind);
    for kind in ["Approved", "Denied", "Failed"].into_iter().filter(|kind| has(old, kind) && !has(new, kind)) {
        let path = Path::root("status").child("conditions");
        errors.forbidden(path, format!("updates may not remove a condition of type {kind:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;

    #[test]
    fn a_request_is_made_in_the_name_of_its_sender() {
        let user = UserInfo::new("jane", &["dev"]);
        let cx = Context { user: &user, subresource: None, now: "2026-01-01T00:00:00Z" };
        let pem = STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----");
        let spec =
            json!({"request": pem, "signerName": "example.com/x", "usages": ["client auth"], "username": "root"});
        let Value::Object(mut request) = json!({ "spec": spec }) else { unreachable!() };
        SIGNING_REQUEST.prepare_for_create(&cx, &mut request);
        assert_eq!(request["spec"]["username"], "jane");
        assert_eq!(request["spec"]["groups"], json!(["dev", "system:authenticated"]));
        assert!(SIGNING_REQUEST.validate(&cx, &request).is_empty());
        request["spec"]["usages"] = json!([]);
        assert_eq!(SIGNING_REQUEST.validate(&cx, &request).to_string(), "spec.usages: Required value");
    }

    #[test]
    fn approval_writes_conditions_only() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: Some("approval"), now: "2026-01-01T00:00:00Z" };
        let Value::Object(old) = json!({"spec": {"request": "x"}, "status": {"certificate": "c"}}) else {
            unreachable!()
        };
        let Value::Object(mut new) = json!({"spec": {"request": "y"}, "status": {"certificate": "d",
            "conditions": [{"type": "Approved", "status": "True"}]}})
        else {
            unreachable!()
        };
        SIGNING_REQUEST.prepare_for_update(&cx, &mut new, &old);
        assert_eq!(new["spec"]["request"], "x");
        assert_eq!(new["status"]["certificate"], "c");
        assert_eq!(new["status"]["conditions"][0]["lastUpdateTime"], "2026-01-01T00:00:00Z");
    }
}
