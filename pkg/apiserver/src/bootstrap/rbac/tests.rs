use super::*;

fn find(kind: &str, name: &str) -> Object {
    objects().into_iter().find(|object| object.str_at(&["kind"]) == kind && object.name() == name).unwrap()
}

/// A role or binding in the form of `upstream.txt`, its lines below the first indented.
fn block(object: &Object) -> String {
    let texts = |value: &Value| {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).unwrap_or("core").to_owned();
        let all: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
        if all.is_empty() { "-".into() } else { all.join(",") }
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let namespace = Some(object.namespace()).filter(|text| !text.is_empty()).unwrap_or("-");
    let mut lines = vec![format!("{} {namespace} {}", object.str_at(&["kind"]), object.name())];
    if object.contains_key("roleRef") {
        assert_eq!(object.str_at(&["roleRef", "apiGroup"]), GROUP);
        lines[0] += &format!(" {}/{}", object.str_at(&["roleRef", "kind"]), object.str_at(&["roleRef", "name"]));
    }
    let mut labels = object["metadata"]["labels"].as_object().unwrap().clone();
    assert_eq!(labels.remove("kubernetes.io/bootstrapping"), Some("rbac-defaults".into()));
    assert_eq!(object["metadata"]["annotations"], json!({AUTOUPDATE: "true"}));
    lines.extend(labels.keys().map(|label| format!("label {label}")));
    let gathers = object.get("aggregationRule").map(|rule| list(&rule["clusterRoleSelectors"]));
    for selector in gathers.iter().flatten() {
        lines.extend(selector["matchLabels"].as_object().unwrap().keys().map(|label| format!("gathers {label}")));
    }
    // What gathers has in upstream's tables no rules of its own.
    for rule in object.get("rules").filter(|_| gathers.is_none()).map(list).iter().flatten() {
        let fields = ["verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"];
        lines.push(fields.map(|field| texts(&rule[field])).join(" "));
    }
    for subject in object.get("subjects").map(list).iter().flatten() {
        let text = |field: &str| subject[field].as_str().unwrap_or_default().to_owned();
        let account = text("kind") == "ServiceAccount";
        assert_eq!(text("apiGroup"), if account { "" } else { GROUP });
        let prefix = if account { text("namespace") + "/" } else { String::new() };
        lines.push(format!("{} {prefix}{}", text("kind"), text("name")));
    }
    lines.join("\n  ")
}

#[test]
fn roles_and_bindings_are_those_of_upstream() {
    let own = |name: &str| {
        let controller = name.strip_prefix(CONTROLLER);
        name.starts_with("knarr:") || own::OWN_CONTROLLERS.iter().any(|role| Some(role.name) == controller)
    };
    let mut ours: Vec<String> = objects().iter().filter(|object| !own(object.name())).map(block).collect();
    ours.sort();
    let upstream = include_str!("upstream.txt").lines().filter(|line| !line.starts_with('#'));
    let mut blocks: Vec<String> = Vec::new();
    for line in upstream {
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') => *block += &format!("\n{line}"),
            _ => blocks.push(line.to_owned()),
        }
    }
    blocks.sort();
    for (ours, upstream) in ours.iter().zip(&blocks) {
        assert_eq!(ours, upstream);
    }
    assert_eq!((ours.len(), blocks.len()), (131, 131));
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
