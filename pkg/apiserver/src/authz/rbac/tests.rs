use serde_json::json;

use super::*;

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => unreachable!(),
    }
}

fn get_pod(namespace: &str) -> RequestInfo {
    RequestInfo {
        is_resource: true,
        verb: "get".into(),
        resource: "pods".into(),
        namespace: namespace.into(),
        name: "p".into(),
        ..RequestInfo::default()
    }
}

fn reader() -> Object {
    object(json!({"rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]}))
}

fn bind(kind: &str, name: &str, subjects: &Value) -> Object {
    object(json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": name}, "subjects": subjects}))
}

#[test]
fn bindings_apply_to_users_groups_and_service_accounts() {
    let rbac = Rbac::default();
    rbac.role_changed("", "reader", Some(&reader()));
    rbac.role_changed("a", "local", Some(&reader()));
    let subjects = json!([
        {"kind": "User", "name": "jane"},
        {"kind": "Group", "name": "devs"},
        {"kind": "ServiceAccount", "name": "bot"},
        {"kind": "ServiceAccount", "name": "bot", "namespace": "b"},
    ]);
    rbac.binding_changed("a", "local", Some(&bind("Role", "local", &subjects)));
    rbac.binding_changed("", "all", Some(&bind("ClusterRole", "reader", &json!([{"kind": "Group", "name": "ops"}]))));
    let plain = |name: &str, groups: &[&str]| UserInfo::new(name, groups);
    let table = [
        (plain("jane", &[]), "a", Ok(r#"RoleBinding "local/a" of Role "local" to User "jane""#)),
        (plain("jane", &[]), "b", Err("")),
        (plain("jim", &["devs"]), "a", Ok(r#"RoleBinding "local/a" of Role "local" to Group "devs""#)),
        (plain("jim", &[]), "a", Err("")),
        (
            UserInfo::service_account("a", "bot"),
            "a",
            Ok(r#"RoleBinding "local/a" of Role "local" to ServiceAccount "bot/a""#),
        ),
        (
            UserInfo::service_account("b", "bot"),
            "a",
            Ok(r#"RoleBinding "local/a" of Role "local" to ServiceAccount "bot/b""#),
        ),
        (UserInfo::service_account("b", "bot"), "b", Err("")),
        (plain("o", &["ops"]), "b", Ok(r#"ClusterRoleBinding "all" of ClusterRole "reader" to Group "ops""#)),
        (plain("o", &["ops"]), "", Ok(r#"ClusterRoleBinding "all" of ClusterRole "reader" to Group "ops""#)),
    ];
    for (user, namespace, expected) in table {
        let seen = rbac.authorize(&user, &get_pod(namespace)).map(|grant| grant.to_string());
        let expected = expected.map(|text| format!("RBAC: allowed by {text}")).map_err(str::to_owned);
        assert_eq!(seen, expected, "{} in {namespace:?}", user.username);
    }
}

#[test]
fn changes_take_effect_at_once() {
    let rbac = Rbac::default();
    let jane = UserInfo::new("jane", &[]);
    let allowed = || rbac.authorize(&jane, &get_pod("a")).map(|_| ());
    rbac.binding_changed("", "b", Some(&bind("ClusterRole", "reader", &json!([{"kind": "User", "name": "jane"}]))));
    let text = r#"RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found"#;
    assert_eq!(allowed(), Err(text.into()));
    rbac.role_changed("", "reader", Some(&reader()));
    assert_eq!(allowed(), Ok(()));
    rbac.binding_changed("", "b", Some(&bind("ClusterRole", "reader", &json!([{"kind": "User", "name": "jim"}]))));
    assert_eq!(allowed(), Err(String::new()));
    rbac.binding_changed("", "b", Some(&bind("ClusterRole", "reader", &json!([{"kind": "User", "name": "jane"}]))));
    rbac.binding_changed("", "b", None);
    assert_eq!(allowed(), Err(String::new()));
    let index = rbac.read();
    assert!(index.values().all(|scope| scope.users.is_empty() && scope.groups.is_empty() && scope.bindings.is_empty()));
}

#[test]
fn malformed_objects_give_no_rights() {
    let rbac = Rbac::default();
    rbac.role_changed("", "reader", Some(&object(json!({"rules": "all"}))));
    rbac.role_changed("", "none", Some(&object(json!({"rules": null}))));
    for broken in [json!({}), json!({"roleRef": 1}), json!({"roleRef": {"kind": "Role"}, "subjects": [1]})] {
        rbac.binding_changed("a", "b", Some(&object(broken)));
    }
    let kind = bind("Group", "x", &json!([{"kind": "User", "name": "jane"}]));
    rbac.binding_changed("a", "c", Some(&kind));
    let denied = rbac.authorize(&UserInfo::new("jane", &[]), &get_pod("a")).unwrap_err();
    assert_eq!(denied, "RBAC: unsupported role reference kind: \"Group\"");
}

#[test]
fn nobody_gives_away_what_they_do_not_hold() {
    let rbac = Rbac::default();
    rbac.role_changed("", "reader", Some(&reader()));
    rbac.binding_changed("a", "b", Some(&bind("ClusterRole", "reader", &json!([{"kind": "User", "name": "jane"}]))));
    let jane = UserInfo::new("jane", &[]);
    let wanted = |verbs: &[&str]| {
        rules_of(&object(json!({"rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]})))
    };
    assert_eq!(rbac.confirm_no_escalation(&jane, "a", &wanted(&["get"])), Ok(()));
    let expected = "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not \
                    currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}";
    assert_eq!(rbac.confirm_no_escalation(&jane, "a", &wanted(&["get", "delete"])), Err(expected.into()));
    assert!(rbac.confirm_no_escalation(&jane, "b", &wanted(&["get"])).is_err());
    assert!(rbac.confirm_full_authority(&jane, "a").is_err());
}
