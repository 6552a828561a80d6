//! Namespaces and service accounts.

use serde_json::{Value, json};

use crate::Object;
use crate::field::{Errors, Path};
use crate::object::{Meta, object_in};
use crate::strategy::fill::Fill::{Drop, With};
use crate::strategy::row::Row;
use crate::strategy::rules::formed;
use crate::strategy::{Context, NameRule, forms};
use crate::tree::Tree;

/// Namespaces.
pub(in crate::strategy) static NAMESPACE: Row = Row {
    fills: &[With(name_label)],
    prepare_create,
    prepare_update,
    check: |_, errors, namespace| check_finalizers(errors, namespace),
    check_update: |cx, errors, new, _| {
        if cx.subresource == Some("finalize") {
            check_finalizers(errors, new);
        }
    },
    check_status,
    name: NameRule::Label,
    ..Row::PLAIN
};

/// ServiceAccounts.
pub(in crate::strategy) static SERVICE_ACCOUNT: Row =
    Row { fills: &[Drop(&["secrets", "imagePullSecrets"])], ..Row::PLAIN };

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
    if cx.subresource == Some("finalize") {
        new.insert("status".into(), old.map("status").clone().into());
    }
    if cx.subresource.is_none() {
        match old.value("spec.finalizers").cloned() {
            Some(finalizers) => new.section("spec").insert("finalizers".into(), finalizers),
            None => new.section("spec").remove("finalizers"),
        };
    }
}

fn check_finalizers(errors: &mut Errors, namespace: &Object) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let path = Path::root("spec").child("finalizers");
    for name in namespace.texts("spec.finalizers") {
        formed(errors, &path, name, forms::qualified);
        if !name.contains('/') && !STANDARD.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path.clone(), name, detail);
        }
    }
}

fn check_status(errors: &mut Errors, new: &Object, _old: &Object) {
    let (wanted, detail) = if new.has("metadata.deletionTimestamp") {
        ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
    } else {
        ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
    };
    let phase = new.text("status.phase");
    if phase != wanted {
        errors.invalid(Path::root("status").child("Phase"), phase, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;

    #[test]
    fn a_new_namespace_is_active_and_labelled() {
        let Value::Object(mut namespace) = json!({"metadata": {"name": "a"}}) else { unreachable!() };
        NAMESPACE.default(&mut namespace);
        let user = UserInfo::default();
        NAMESPACE.prepare_for_create(&Context { user: &user, subresource: None, now: "" }, &mut namespace);
        assert_eq!(
            Value::Object(namespace),
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                   "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        );
    }
}
