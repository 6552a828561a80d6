//! `rbac.authorization.k8s.io`.

use super::fill::Fill::{self, Each, Make, With, Zero};
use super::fill::Fixed::Text;
use super::row::Row;
use super::rules::{At, Rule, check, formed};
use super::{Context, NameRule, forms, selector};
use crate::Object;
use crate::field::{Errors, Path};
use crate::tree::{Tree, same};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What all four kinds have in common.
const ROLE_LIKE: Row = Row { name: NameRule::PathSegment, create_on_update: true, ..Row::PLAIN };

/// Roles.
pub(super) static ROLE: Row = Row { check: |_, errors, role| check_rules(errors, role, true), ..ROLE_LIKE };

/// ClusterRoles.
pub(super) static CLUSTER_ROLE: Row = Row {
    check: |_, errors, role| {
        check_rules(errors, role, false);
        check_aggregation(errors, role);
    },
    ..ROLE_LIKE
};

const BINDING: &[Fill] =
    &[Make("roleRef", &[Zero("apiGroup", Text(GROUP))]), Each(&["subjects"], &[With(subject_group)])];

/// RoleBindings.
pub(super) static ROLE_BINDING: Row = Row {
    fills: BINDING,
    check: |_, errors, binding| check_binding(errors, binding, true),
    check_update: keep_role,
    ..ROLE_LIKE
};

/// ClusterRoleBindings.
pub(super) static CLUSTER_ROLE_BINDING: Row = Row {
    fills: BINDING,
    check: |_, errors, binding| check_binding(errors, binding, false),
    check_update: keep_role,
    ..ROLE_LIKE
};

fn subject_group(subject: &mut Object) {
    if subject.text("apiGroup").is_empty() && matches!(subject.text("kind"), "User" | "Group") {
        subject.insert("apiGroup".into(), GROUP.into());
    }
}

fn check_rules(errors: &mut Errors, role: &Object, namespaced: bool) {
    for rule in At::root(role).each("rules") {
        let empty = |field: &str| rule.object.list(field).is_empty();
        if empty("verbs") {
            errors.required(rule.path("verbs"), "verbs must contain at least one value");
        }
        let urls = rule.object.list("nonResourceURLs");
        if !urls.is_empty() {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(rule.path("nonResourceURLs"), urls.to_vec(), detail);
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(rule.path("nonResourceURLs"), urls.to_vec(), detail);
            }
            continue;
        }
        if empty("apiGroups") {
            errors.required(rule.path("apiGroups"), "resource rules must supply at least one api group");
        }
        if empty("resources") {
            errors.required(rule.path("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn check_aggregation(errors: &mut Errors, role: &Object) {
    let Some(rule) = At::root(role).enter("aggregationRule") else { return };
    if rule.object.list("clusterRoleSelectors").is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.required(rule.path("clusterRoleSelectors"), detail);
    }
    rule.each("clusterRoleSelectors").for_each(|own| selector::check(errors, &own));
}

fn check_binding(errors: &mut Errors, binding: &Object, namespaced: bool) {
    let role = At { path: Path::root("roleRef"), object: binding.map("roleRef") };
    if role.text("apiGroup") != GROUP {
        errors.not_supported(role.path("apiGroup"), role.text("apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.text("kind")) {
        errors.not_supported(role.path("kind"), role.text("kind"), kinds);
    }
    check(errors, &role, &[Rule::Named("name", forms::path_segment)]);
    At::root(binding).each("subjects").for_each(|subject| check_subject(errors, &subject, namespaced));
}

fn check_subject(errors: &mut Errors, subject: &At<'_>, namespaced: bool) {
    check(errors, subject, &[Rule::Required("name")]);
    let group = subject.text("apiGroup");
    match subject.text("kind") {
        "ServiceAccount" => {
            if !subject.text("name").is_empty() {
                formed(errors, &subject.path("name"), subject.text("name"), forms::subdomain);
            }
            if !group.is_empty() {
                errors.not_supported(subject.path("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.text("namespace").is_empty() {
                errors.required(subject.path("namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => errors.not_supported(subject.path("apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        other => errors.not_supported(subject.path("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

fn keep_role(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    if !same(new.get("roleRef"), old.get("roleRef")) {
        errors.invalid(Path::root("roleRef"), new.map("roleRef").clone(), "cannot change roleRef");
    }
}
