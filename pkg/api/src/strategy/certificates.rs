//! `certificates.k8s.io`.

use serde_json::{Value, json};

use super::Context;
use super::row::Row;
use crate::Object;
use crate::object::Meta;
use crate::tree::{Tree, objects_mut};

/// CertificateSigningRequests.
pub(super) static SIGNING_REQUEST: Row = Row { prepare_create, prepare_update, ..Row::PLAIN };

/// ClusterTrustBundles.
pub(super) static TRUST_BUNDLE: Row = Row { needs_revision: true, ..Row::PLAIN };

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
