//! The built-in roles and bindings, and how they are kept up to date:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>.
//!
//! The tables say what `k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy` of v1.35 says, under its default
//! feature gates. At each start, rules, subjects and selectors that are missing are put back; what a user added stays, and
//! an object that carries `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

mod bindings;
mod components;
mod controllers;
mod own;
mod people;
mod row;

use knarr_api::Object;
use knarr_api::object::Meta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::item::{Change, into_object};
use crate::authz::rbac::{self, GROUP, Rule, missing, rules_of};
use bindings::Who;
use row::Role;

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const CONTROLLER: &str = "system:controller:";

/// All built-in roles and bindings, roles first. `kind` and `metadata` say what and where they are.
pub(super) fn objects() -> Vec<Object> {
    let cluster = [people::PEOPLE, components::COMPONENTS, own::OWN].into_iter().flatten();
    let cluster = cluster.map(|role| role_object(role, role.name, None));
    let controllers = || controllers::CONTROLLERS.iter().chain(own::OWN_CONTROLLERS);
    let controller_roles = controllers().map(|role| role_object(role, &format!("{CONTROLLER}{}", role.name), None));
    let local = bindings::LOCAL_ROLES.iter().map(|(namespace, role)| role_object(role, role.name, Some(namespace)));
    let cluster_bindings = bindings::CLUSTER.iter().map(|(name, who)| binding_object(name, None, name, who));
    let controller_bindings = controllers().map(|role| {
        let name = format!("{CONTROLLER}{}", role.name);
        binding_object(&name, None, &name, &[Who::Account(role.name)])
    });
    let local_bindings =
        bindings::LOCAL.iter().map(|(namespace, name, role, who)| binding_object(name, Some(namespace), role, who));
    let roles = cluster.chain(controller_roles).chain(local);
    roles.chain(cluster_bindings).chain(controller_bindings).chain(local_bindings).collect()
}

/// The rules of `system:node`, which the Node authorizer applies.
#[must_use]
pub fn node_rules() -> Vec<Rule> {
    let node = components::COMPONENTS.iter().find(|role| role.name == "system:node");
    node.map(|role| role.rules.iter().map(row::Rule::expand).collect()).unwrap_or_default()
}

fn metadata(name: &str, namespace: Option<&str>, part_of: Option<&str>) -> Value {
    let mut labels = into_object(json!({"kubernetes.io/bootstrapping": "rbac-defaults"}));
    if let Some(label) = part_of {
        labels.insert(format!("rbac.authorization.k8s.io/{label}"), "true".into());
    }
    let mut metadata = into_object(json!({"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}}));
    if let Some(namespace) = namespace {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.into()
}

fn role_object(role: &Role, name: &str, namespace: Option<&str>) -> Object {
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let mut object = into_object(json!({
        "apiVersion": API_VERSION, "kind": kind, "metadata": metadata(name, namespace, role.part_of),
    }));
    if role.gathers {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
        let rule = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        object.insert("aggregationRule".into(), rule);
        object.insert("rules".into(), json!(gathered(name)));
    } else {
        object.insert("rules".into(), expanded(role));
    }
    object
}

fn expanded(role: &Role) -> Value {
    role.rules.iter().map(|rule| json!(rule.expand())).collect()
}

/// What the aggregation controller gathers from the tables, in its order: with it the roles work from the first moment on.
fn gathered(name: &str) -> Vec<Rule> {
    let label = format!("aggregate-to-{name}");
    let mut parts: Vec<_> = people::PEOPLE.iter().filter(|role| role.part_of == Some(label.as_str())).collect();
    parts.sort_by_key(|role| role.name);
    let mut rules: Vec<Rule> = Vec::new();
    for part in parts {
        let own = if part.gathers { gathered(part.name) } else { part.rules.iter().map(row::Rule::expand).collect() };
        for rule in own {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

fn binding_object(name: &str, namespace: Option<&str>, role: &str, who: &[Who]) -> Object {
    let (kind, role_kind) =
        if namespace.is_some() { ("RoleBinding", "Role") } else { ("ClusterRoleBinding", "ClusterRole") };
    let subject = |who: &Who| match who {
        Who::User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        Who::Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        Who::Account(name) => json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}),
    };
    let mut object = into_object(json!({
        "apiVersion": API_VERSION, "kind": kind, "metadata": metadata(name, namespace, None),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    }));
    if !who.is_empty() {
        object.insert("subjects".into(), who.iter().map(subject).collect());
    }
    object
}

/// Compares a role or binding with what it should at least be.
pub(super) fn reconcile(existing: &Object, expected: &Object) -> Change {
    if existing.str_at(&["metadata", "annotations", AUTOUPDATE]) == "false" {
        return Change::Nothing;
    }
    let reference = |object: &Object| object.get("roleRef").and_then(|value| rbac::RoleRef::deserialize(value).ok());
    if reference(existing) != reference(expected) {
        return Change::Recreate;
    }
    let mut updated = existing.clone();
    for field in ["labels", "annotations"] {
        add_missing_keys(&mut updated, expected, field);
    }
    add_missing_items(&mut updated, expected, &["aggregationRule", "clusterRoleSelectors"]);
    add_missing_items(&mut updated, expected, &["subjects"]);
    // Rules of a role that gathers are the aggregation controller's business.
    if !expected.contains_key("aggregationRule") {
        let missing = missing(&rules_of(existing), &rules_of(expected));
        if !missing.is_empty() {
            let rules = rules_of(existing).into_iter().chain(missing).map(|rule| json!(rule)).collect();
            updated.insert("rules".into(), rules);
        }
    }
    if updated == *existing { Change::Nothing } else { Change::Update(updated) }
}

fn add_missing_keys(updated: &mut Object, expected: &Object, field: &str) {
    let Some(expected) = expected.at(&["metadata", field]).and_then(Value::as_object) else { return };
    let present = knarr_api::object::object_in(updated.meta_mut().entry(field).or_insert(Value::Null));
    for (key, value) in expected {
        present.entry(key).or_insert_with(|| value.clone());
    }
}

fn add_missing_items(updated: &mut Object, expected: &Object, path: &[&str]) {
    let Some(expected) = expected.at(path).and_then(Value::as_array).filter(|list| !list.is_empty()) else { return };
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().fold(updated, |object, field| object.section(field));
    let list = parent.entry(*last).or_insert(Value::Null);
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    if let Some(list) = list.as_array_mut() {
        for item in expected {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
