use super::*;

fn find(kind: &str, name: &str) -> Object {
    objects().into_iter().find(|object| object.str_at(&["kind"]) == kind && object.name() == name).unwrap()
}

#[test]
fn there_are_as_many_as_upstream_has_and_ours() {
    let count = |kind: &str| objects().iter().filter(|object| object.str_at(&["kind"]) == kind).count();
    // Upstream v1.35: 31 cluster roles and 37 of controllers, 12 and 37 bindings, 7 and 7 in namespaces.
    let ours = own::OWN.len() + own::OWN_CONTROLLERS.len();
    assert_eq!(count("ClusterRole"), 31 + 37 + ours);
    assert_eq!(count("ClusterRoleBinding"), 12 + 37 + ours);
    assert_eq!((count("Role"), count("RoleBinding")), (7, 7));
}

#[test]
fn every_binding_names_a_role_that_exists() {
    let objects = objects();
    for binding in objects.iter().filter(|object| object.contains_key("roleRef")) {
        let (kind, name) = (binding.str_at(&["roleRef", "kind"]), binding.str_at(&["roleRef", "name"]));
        let role = |object: &&Object| object.str_at(&["kind"]) == kind && object.name() == name;
        assert!(objects.iter().filter(role).any(|role| role.namespace() == binding.namespace()), "{name}");
    }
}

#[test]
fn the_notation_expands_to_the_api() {
    assert_eq!(
        Value::Object(find("Role", "system:controller:token-cleaner")),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {
                "name": "system:controller:token-cleaner",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
            "rules": [
                {"verbs": ["delete", "get", "list", "watch"], "apiGroups": [""], "resources": ["secrets"]},
                {"verbs": ["create", "patch", "update"], "apiGroups": ["", "events.k8s.io"], "resources": ["events"]},
            ],
        })
    );
    let view = find("ClusterRole", "view");
    let selector = "rbac.authorization.k8s.io/aggregate-to-view";
    assert_eq!(view["aggregationRule"], json!({"clusterRoleSelectors": [{"matchLabels": {selector: "true"}}]}));
    assert_eq!(view["rules"], find("ClusterRole", "system:aggregate-to-view")["rules"]);
    assert_eq!(view.str_at(&["metadata", "labels", "rbac.authorization.k8s.io/aggregate-to-edit"]), "true");
    let count = |name: &str| find("ClusterRole", name)["rules"].as_array().unwrap().len();
    let own = ["system:aggregate-to-view", "system:aggregate-to-edit", "system:aggregate-to-admin"].map(count);
    assert_eq!(count("admin"), own.iter().sum::<usize>());
    assert!(!find("ClusterRoleBinding", "system:node").contains_key("subjects"));
    assert!(node_rules().len() > 20);
}

#[test]
fn what_is_missing_comes_back_and_what_was_added_stays() {
    let expected = find("ClusterRole", "system:kube-dns");
    assert_eq!(reconcile(&expected, &expected), Change::Nothing);
    let mut changed = expected.clone();
    changed["rules"] = json!([
        {"verbs": ["list"], "apiGroups": [""], "resources": ["endpoints"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    changed["metadata"] = json!({"name": "system:kube-dns", "labels": {"mine": "yes"}});
    let Change::Update(updated) = reconcile(&changed, &expected) else { panic!("nothing was done") };
    assert_eq!(
        updated["rules"],
        json!([
            {"verbs": ["list"], "apiGroups": [""], "resources": ["endpoints"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["watch"], "apiGroups": [""], "resources": ["endpoints"]},
            {"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["services"]},
        ])
    );
    assert_eq!(updated.str_at(&["metadata", "labels", "mine"]), "yes");
    assert_eq!(reconcile(&updated, &expected), Change::Nothing);
    changed["metadata"]["annotations"] = json!({AUTOUPDATE: "false"});
    assert_eq!(reconcile(&changed, &expected), Change::Nothing);
}

#[test]
fn subjects_come_back_and_another_role_means_another_binding() {
    let expected = find("ClusterRoleBinding", "system:public-info-viewer");
    let mut changed = expected.clone();
    changed["subjects"] = json!([{"kind": "User", "apiGroup": GROUP, "name": "jane"}]);
    let Change::Update(updated) = reconcile(&changed, &expected) else { panic!("nothing was done") };
    let names: Vec<_> = updated["subjects"].as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["jane", "system:authenticated", "system:unauthenticated"]);
    changed["roleRef"]["name"] = "other".into();
    assert_eq!(reconcile(&changed, &expected), Change::Recreate);
}
