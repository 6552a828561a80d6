//! Namespaces and service accounts.

use serde_json::{Value, json};

use crate::Object;
use crate::object::{Meta, object_in};
use crate::strategy::fill::Fill::With;
use crate::strategy::row::Row;
use crate::strategy::{Context, NameRule};
use crate::tree::Tree;

/// Namespaces.
pub(in crate::strategy) static NAMESPACE: Row =
    Row { fills: &[With(name_label)], prepare_create, prepare_update, name: NameRule::Label, ..Row::PLAIN };

/// Every namespace can be selected by its name.
fn name_label(namespace: &mut Object) {
    let name = namespace.name().to_owned();
    if !name.is_empty() {
        let labels = object_in(namespace.meta_mut().entry("labels").or_insert(Value::Null));
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

/// The finalizer stands for the namespace's content; the namespace controller removes it through `finalize`.
fn prepare_create(_cx: &Context<'_>, namespace: &mut Object) {
    name_label(namespace);
    namespace.insert("status".into(), json!({"phase": "Active"}));
    let finalizers = namespace.section("spec").entry("finalizers").or_insert(Value::Null);
    match finalizers {
        Value::Array(list) if list.iter().any(|name| name == "kubernetes") => {}
        Value::Array(list) => list.push("kubernetes".into()),
        other => *other = json!(["kubernetes"]),
    }
}

fn prepare_update(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if cx.subresource.is_none() {
        let finalizers = old.value("spec.finalizers").cloned();
        match finalizers {
            Some(finalizers) => new.section("spec").insert("finalizers".into(), finalizers),
            None => new.section("spec").remove("finalizers"),
        };
    }
}
