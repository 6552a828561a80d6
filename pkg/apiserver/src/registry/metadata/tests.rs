use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

#[test]
fn generated_names_fit_and_given_ones_stay() {
    let mut long = object(json!({"metadata": {"generateName": "x".repeat(100)}}));
    generate_name(&mut long);
    assert_eq!(long.name().len(), 63);
    let mut given = object(json!({"metadata": {"generateName": "x-", "name": "mine"}}));
    generate_name(&mut given);
    assert_eq!(given.name(), "mine");
    let mut neither = object(json!({"metadata": {}}));
    generate_name(&mut neither);
    assert_eq!(neither.name(), "");
}

#[test]
fn a_new_object_has_no_say_in_system_fields() {
    let mut new = object(json!({"metadata": {
        "name": "a", "uid": "mine", "resourceVersion": "7", "selfLink": "/x", "deletionTimestamp": "2020-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 3, "creationTimestamp": "2020-01-01T00:00:00Z",
    }}));
    fill_system_fields(&mut new);
    assert_eq!(new.uid().len(), 36);
    assert!(new.meta("creationTimestamp") > "2024");
    let kept: Vec<_> = new["metadata"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(kept, ["creationTimestamp", "name", "uid"]);
}

#[test]
fn an_update_neither_begins_nor_ends_a_deletion() {
    let living = object(json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t"}}));
    let mut new = object(json!({"metadata": {"name": "a", "deletionTimestamp": "x", "deletionGracePeriodSeconds": 1}}));
    keep(&mut new, &living);
    assert_eq!(new, living);
    let going = object(
        json!({"metadata": {"name": "a", "uid": "u", "deletionTimestamp": "d", "deletionGracePeriodSeconds": 5}}),
    );
    let mut new = object(json!({"metadata": {"name": "a", "uid": "other"}}));
    keep(&mut new, &going);
    let expected = json!({"name": "a", "uid": "other", "deletionTimestamp": "d", "deletionGracePeriodSeconds": 5});
    assert_eq!(new["metadata"], expected, "a wrong UID is for validation to refuse");
}

#[test]
fn metadata_without_members_is_omitted() {
    let mut last = object(json!({"metadata": {
        "name": "a", "labels": {}, "annotations": {"a": ""}, "finalizers": [], "ownerReferences": [], "managedFields": [],
    }}));
    omit_empty(&mut last);
    assert_eq!(last["metadata"], json!({"name": "a", "annotations": {"a": ""}}));
}
