use serde_json::{Value, json};

use super::*;
use crate::admission::fixture::object;

fn text(verdict: Verdict) -> String {
    verdict.err().unwrap_or_default()
}

#[test]
fn a_node_makes_mirror_pods_of_its_own_only() {
    let own = object(json!({"metadata": {"name": "n1", "uid": "u1"}}));
    let pod = |spec: Value, owner: Value| {
        object(json!({"metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [owner]}, "spec": spec}))
    };
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": true});
    let with = |field: &str, value: Value| {
        let mut owner = owner.clone();
        owner[field] = value;
        owner
    };
    let here = json!({"nodeName": "n1"});
    let volume = |volume: Value| json!({"nodeName": "n1", "volumes": [volume]});
    let table = [
        (pod(here.clone(), owner.clone()), ""),
        (
            object(json!({})),
            r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#,
        ),
        (
            pod(json!({"nodeName": "n2"}), owner.clone()),
            r#"node "n1" can only create pods with spec.nodeName set to itself"#,
        ),
        (
            pod(here.clone(), with("name", json!("n2"))),
            r#"node "n1" can only create pods with an owner reference set to itself"#,
        ),
        (
            pod(here.clone(), with("controller", json!(false))),
            r#"node "n1" can only create pods with a controller owner reference set to itself"#,
        ),
        (
            pod(here.clone(), with("blockOwnerDeletion", json!(true))),
            r#"node "n1" must not set blockOwnerDeletion on an owner reference"#,
        ),
        (pod(here.clone(), with("uid", json!("u2"))), "node n1 UID mismatch: expected u2 got u1"),
        (pod(volume(json!({"emptyDir": {}})), owner.clone()), ""),
        (
            pod(volume(json!({"secret": {"secretName": "s"}})), owner.clone()),
            r#"node "n1" can not create pods that reference secrets"#,
        ),
        (
            pod(volume(json!({"persistentVolumeClaim": {}})), owner.clone()),
            r#"node "n1" can not create pods that reference persistentvolumeclaims"#,
        ),
        (
            pod(volume(json!({"projected": {"sources": [{"serviceAccountToken": {}}]}})), owner.clone()),
            r#"node "n1" can not create pods that reference serviceaccounts (via projected volumes)"#,
        ),
        (
            pod(json!({"nodeName": "n1", "serviceAccountName": "x"}), owner.clone()),
            r#"node "n1" can not create pods that reference serviceaccounts"#,
        ),
    ];
    for (pod, expected) in table {
        assert_eq!(text(create_pod("n1", &pod, Some(&own))), expected, "{pod:?}");
    }
}

#[test]
fn a_node_sets_its_own_labels_only() {
    for (label, allowed) in [
        ("mine", true),
        ("example.com/x", true),
        ("kubernetes.io/hostname", true),
        ("node.kubernetes.io/x", true),
        ("a.kubelet.kubernetes.io/x", true),
        ("node-role.kubernetes.io/control-plane", false),
        ("kubernetes.io/x", false),
        ("foo.k8s.io/x", false),
        ("notk8s.io/x", true),
        ("node-restriction.kubernetes.io/x", false),
        ("a.node-restriction.kubernetes.io/x", false),
    ] {
        assert_eq!(may_set(label), allowed, "{label}");
    }
    let labels = object(json!({"kubernetes.io/b": "1", "k8s.io/a": "1", "kubernetes.io/same": "1", "x": "y"}));
    let old = object(json!({"kubernetes.io/same": "1", "kubernetes.io/gone": "1"}));
    assert_eq!(forbidden_labels(&labels, &old), "k8s.io/a, kubernetes.io/b, kubernetes.io/gone");
}

#[test]
fn a_node_keeps_its_hands_off_other_nodes_and_its_taints() {
    let node = |value: Value| object(json!({"metadata": {"name": "n1"}, "spec": value}));
    let (plain, tainted) = (node(json!({})), node(json!({"taints": [{"key": "a"}]})));
    let update =
        |name: &str, new: &Object, old: &Object| text(node_object("n1", name, Some(new), Some(old), Operation::Update));
    assert_eq!(update("n2", &plain, &plain), r#"node "n1" is not allowed to modify node "n2""#);
    assert_eq!(update("n1", &plain, &tainted), r#"node "n1" is not allowed to modify taints"#);
    assert_eq!(update("n1", &tainted, &tainted), "");
    let labelled = object(json!({"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/x": ""}}}));
    let created = text(node_object("n1", "", Some(&labelled), None, Operation::Create));
    assert_eq!(created, r#"node "n1" is not allowed to set the following labels: node-role.kubernetes.io/x"#);
}

#[test]
fn a_token_is_for_a_pod_of_the_node_and_its_audiences() {
    let pod = object(json!({"metadata": {"uid": "u1"}, "spec": {"nodeName": "n1", "volumes": [
        {"projected": {"sources": [{"serviceAccountToken": {}}, {"serviceAccountToken": {"audience": "vault"}}]}},
    ]}}));
    let body = |reference: Value, audiences: Value| {
        object(json!({"spec": {"boundObjectRef": reference, "audiences": audiences}}))
    };
    let here = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
    let table = [
        ("n1", body(here("u1"), json!([])), ""),
        ("n1", body(here("u1"), json!(["vault"])), ""),
        ("n1", body(json!(null), json!([])), "node requested token not bound to a pod"),
        ("n1", body(here(""), json!([])), "node requested token with a pod binding without a uid"),
        (
            "n1",
            body(here("u2"), json!([])),
            "the UID in the bound object reference (u2) does not match the UID in record. The object might have been deleted \
             and then recreated",
        ),
        ("n2", body(here("u1"), json!([])), "node requested token bound to a pod scheduled on a different node"),
        ("n1", body(here("u1"), json!(["a", "b"])), "node may only request 0 or 1 audiences"),
        (
            "n1",
            body(here("u1"), json!(["other"])),
            "audience \"other\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this \
             audience",
        ),
    ];
    for (node, body, expected) in table {
        assert_eq!(text(token(node, &body, Some(&pod))), expected, "{body:?}");
    }
}

#[test]
fn status_of_others_is_off_limits() {
    let pod = |labels: Value, status: Value| {
        object(json!({"metadata": {"labels": labels}, "spec": {"nodeName": "n1"}, "status": status}))
    };
    let old = pod(json!({"a": "b"}), json!({"phase": "Pending"}));
    assert_eq!(text(pod_status("n1", &pod(json!({"a": "b"}), json!({"phase": "Running"})), &old)), "");
    assert_eq!(
        text(pod_status("n1", &pod(json!({}), json!({})), &old)),
        r#"node "n1" cannot update labels through pod status"#
    );
    assert_eq!(
        text(pod_status("n2", &old, &old)),
        r#"node "n2" can only update pod status for pods with spec.nodeName set to itself"#
    );
    let claim =
        |phase: &str, capacity: &str| object(json!({"status": {"phase": phase, "capacity": {"storage": capacity}}}));
    assert_eq!(text(claim_status("n1", &claim("Bound", "2Gi"), &claim("Bound", "1Gi"))), "");
    assert!(
        text(claim_status("n1", &claim("Lost", "1Gi"), &claim("Bound", "1Gi"))).contains("is not allowed to update")
    );
}
