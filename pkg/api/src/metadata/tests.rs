use serde_json::json;

use super::*;
use crate::kinds;

fn object(metadata: Value) -> Object {
    Object::from_iter([("metadata".to_owned(), metadata)])
}

fn errors(kind: &str, metadata: Value) -> String {
    let kind = kinds::builtin().iter().find(|row| row.kind == kind).unwrap();
    validate(kind, NameRule::Subdomain, &object(metadata)).to_string()
}

#[test]
fn good_metadata_has_no_errors() {
    let metadata = json!({
        "name": "web", "namespace": "default", "generateName": "web-",
        "labels": {"app": "web", "example.com/Tier": ""}, "annotations": {"Example.com/note": "any thing\n"},
        "finalizers": ["example.com/x", "foregroundDeletion"],
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "1", "controller": true}],
    });
    assert_eq!(errors("Pod", metadata), "[]");
}

#[test]
fn new_metadata_is_checked_as_upstream_does() {
    const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    for (kind, metadata, expected) in [
        ("Pod", json!({"namespace": "default"}), "metadata.name: Required value: name or generateName is required"),
        ("Pod", json!({"name": "a"}), "metadata.namespace: Required value"),
        ("Node", json!({"name": "a", "namespace": "b"}), "metadata.namespace: Forbidden: not allowed on this type"),
        ("Node", json!({"name": "A"}), &format!("metadata.name: Invalid value: \"A\": {SUBDOMAIN}")),
        (
            "Node",
            json!({"name": "a", "generateName": "-"}),
            &format!("metadata.generateName: Invalid value: \"-\": {SUBDOMAIN}"),
        ),
        (
            "Node",
            json!({"name": "a", "generation": -1}),
            "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "Node",
            json!({"name": "a", "labels": {"a": "b c"}}),
            "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            "Node",
            json!({"name": "a", "annotations": {"a": "x".repeat(256 * 1024)}}),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            "Node",
            json!({"name": "a", "finalizers": ["mine"]}),
            "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ),
        (
            "Node",
            json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}),
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
        ),
        (
            "Node",
            json!({"name": "a", "ownerReferences": [{"apiVersion": "apps/", "kind": "X", "name": "x", "uid": ""}]}),
            "[metadata.ownerReferences.apiVersion: Invalid value: \"apps/\": version must not be empty, metadata.ownerReferences.uid: Invalid value: \"\": must not be empty]",
        ),
        (
            "Node",
            json!({"name": "a", "managedFields": [{"operation": "Guess", "fieldsType": "FieldsV2"}]}),
            "[metadata.managedFields[0].operation: Invalid value: \"Guess\": must be `Apply` or `Update`, metadata.managedFields[0].fieldsType: Invalid value: \"FieldsV2\": must be `FieldsV1`]",
        ),
        // A custom resource's finalizers need no domain.
        ("L2Advertisement", json!({"name": "a", "namespace": "b", "finalizers": ["mine"]}), "[]"),
    ] {
        assert_eq!(errors(kind, metadata), expected);
    }
}

#[test]
fn one_controller_is_enough() {
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "X", "name": name, "uid": "1", "controller": true});
    let text = errors("Node", json!({"name": "a", "ownerReferences": [owner("a"), owner("b")]}));
    let expected = "Only one reference can have Controller set to true. Found \"true\" in references for X/a and X/b";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn changes_are_checked_against_what_was_there() {
    let old =
        json!({"name": "a", "resourceVersion": "1", "uid": "u", "generation": 2, "finalizers": ["example.com/x"]});
    let check = |field: &str, value: Value, deleting: bool| {
        let (mut old, mut new) = (old.clone(), old.clone());
        if deleting {
            old["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            new["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        new[field] = value;
        validate_update(&object(new), &object(old)).to_string()
    };
    for (field, value, deleting, expected) in [
        ("resourceVersion", json!("2"), false, "[]"),
        ("finalizers", json!(["example.com/y"]), false, "[]"),
        ("finalizers", json!([]), true, "[]"),
        (
            "finalizers",
            json!(["example.com/y"]),
            true,
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/y\"}",
        ),
        (
            "resourceVersion",
            json!(""),
            false,
            "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
        ),
        ("generation", json!(1), false, "metadata.generation: Invalid value: 1: must not be decremented"),
        ("uid", json!("v"), false, "metadata.uid: Invalid value: \"v\": field is immutable"),
        ("name", json!("b"), false, "metadata.name: Invalid value: \"b\": field is immutable"),
    ] {
        assert_eq!(check(field, value, deleting), expected);
    }
}
