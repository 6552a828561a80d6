use serde_json::{Value, json};

use super::*;
use crate::schema;

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn apply(kind: PatchKind, object: Value, patch: &Value) -> Result<Value> {
    let Value::Object(object) = object else { unreachable!() };
    let patch = Patch::parse(kind, patch.to_string().as_bytes())?;
    patch.apply(object, schema::root(POD)).map(Value::Object)
}

fn strategic(ty: &str, object: &Value, patch: &Value) -> Result<Value> {
    let patch = Patch::parse(PatchKind::Strategic, patch.to_string().as_bytes())?;
    patch.apply(object.as_object().unwrap().clone(), schema::root(ty)).map(Value::Object)
}

/// Applies a strategic merge patch to `spec` of a pod.
#[track_caller]
fn check(spec: Value, patch: Value, expected: Value) {
    let patched = strategic(POD, &json!({"spec": spec}), &json!({"spec": patch})).unwrap();
    assert_eq!(patched, json!({"spec": expected}));
}

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

#[test]
fn json_patches() {
    let object = json!({"metadata": {"labels": {"a/b": "1"}}, "spec": {"x": [1, 2]}});
    let patch = json!([
        {"op": "test", "path": "/metadata/labels/a~1b", "value": "1"},
        {"op": "replace", "path": "/metadata/labels/a~1b", "value": "2"},
        {"op": "add", "path": "/spec/x/-", "value": 3},
        {"op": "remove", "path": "/spec/x/0"},
    ]);
    let patched = apply(PatchKind::Json, object, &patch).unwrap();
    assert_eq!(patched, json!({"metadata": {"labels": {"a/b": "2"}}, "spec": {"x": [2, 3]}}));
}

/// A few operations could make a document of terabytes.
#[test]
fn json_patches_copy_no_more_than_upstreams() {
    let object = || json!({"data": {"0": "x".repeat(1000)}});
    let copies = |count: usize| -> Value {
        let copy = |step: usize| json!({"op": "copy", "from": "/data", "path": format!("/data/{step}")});
        (1..=count).map(copy).collect()
    };
    let patched = apply(PatchKind::Json, object(), &copies(10)).unwrap();
    assert!(patched.to_string().len() > 1_000_000);
    let status = apply(PatchKind::Json, object(), &copies(16)).unwrap_err();
    assert_eq!(status.code, 422);
    let cause = &status.details.unwrap().causes[0].message;
    assert!(cause.starts_with("Unable to complete the copy, the accumulated size increase of copy is "), "{cause}");
}

#[test]
fn json_patches_that_do_not_fit_are_422() {
    for (patch, expected) in [
        (json!({"op": "test", "path": "/spec", "value": 1}), "testing value /spec failed: test failed"),
        (
            json!({"op": "add", "path": "/a/b", "value": 1}),
            r#"add operation does not apply: doc is missing path: "/a/b": missing value"#,
        ),
        (
            json!({"op": "replace", "path": "/a", "value": 1}),
            "replace operation does not apply: doc is missing key: /a: missing value",
        ),
        (
            json!({"op": "remove", "path": "/a"}),
            r#"remove operation does not apply: doc is missing path: "/a": missing value"#,
        ),
        (
            json!({"op": "move", "from": "/a", "path": "/b"}),
            "move operation does not apply: doc is missing from path: /a: missing value",
        ),
    ] {
        let status = apply(PatchKind::Json, json!({"spec": {}}), &json!([patch])).unwrap_err();
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
        assert_eq!(status.details.unwrap().causes[0].message, expected);
    }
}

#[test]
fn malformed_patches_are_400() {
    for (kind, patch, expected) in [
        (
            PatchKind::Json,
            "{}",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            PatchKind::Merge,
            "[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (PatchKind::Strategic, "7", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
    ] {
        let status = Patch::parse(kind, patch.as_bytes()).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, expected));
    }
    for text in ["", "{", "[{\"op\": \"jump\"}]"] {
        assert_eq!(Patch::parse(PatchKind::Json, text.as_bytes()).unwrap_err().code, 400);
    }
    let many: Vec<Value> = (0..=MOST_OPERATIONS).map(|_| json!({"op": "remove", "path": "/a"})).collect();
    assert_eq!(Patch::parse(PatchKind::Json, Value::Array(many).to_string().as_bytes()).unwrap_err().code, 413);
}

#[test]
fn a_patch_that_makes_something_else_of_the_object_is_422() {
    let status = apply(PatchKind::Json, json!({}), &json!([{"op": "replace", "path": "", "value": 1}])).unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (422, " \"\" is invalid: patch: Invalid value: \"1\": the patched document is not an object")
    );
}

#[test]
fn merge_patches_follow_rfc_7386() {
    let object = json!({"spec": {"a": 1, "b": {"c": 1, "d": 2}, "list": [{"name": "x"}]}});
    let patch = json!({"spec": {"a": null, "b": {"c": null, "e": {"f": null}}, "list": [{"name": "y"}]}});
    let patched = apply(PatchKind::Merge, object, &patch).unwrap();
    assert_eq!(patched, json!({"spec": {"b": {"d": 2, "e": {}}, "list": [{"name": "y"}]}}));
}

#[test]
fn duplicate_fields_of_a_patch_are_reported() {
    let patch = Patch::parse(PatchKind::Merge, br#"{"spec": {"a": 1, "a": 2, "l": [{"b": 1, "b": 2}]}}"#).unwrap();
    assert_eq!(patch.strict, [r#"duplicate field "spec.a""#, r#"duplicate field "spec.l[0].b""#]);
}

#[test]
fn a_kind_without_schema_has_no_strategic_merge() {
    let patch = Patch::parse(PatchKind::Strategic, b"{}").unwrap();
    assert_eq!(patch.apply(Object::new(), None).unwrap_err().code, 415);
}

#[test]
fn objects_merge_field_by_field() {
    check(
        json!({"nodeName": "a", "hostNetwork": true}),
        json!({"nodeName": "b"}),
        json!({"nodeName": "b", "hostNetwork": true}),
    );
    check(json!({"nodeName": "a", "hostNetwork": true}), json!({"nodeName": null}), json!({"hostNetwork": true}));
    check(
        json!({"nodeSelector": {"a": "1", "b": "2"}}),
        json!({"nodeSelector": {"a": null, "c": "3"}}),
        json!({"nodeSelector": {"b": "2", "c": "3"}}),
    );
    // Nulls of what is new are left out; a null that deletes nothing is nothing.
    check(
        json!({}),
        json!({"nodeName": null, "securityContext": {"runAsUser": 1, "fsGroup": null}}),
        json!({"securityContext": {"runAsUser": 1}}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "replace", "fsGroup": 2}}),
        json!({"securityContext": {"fsGroup": 2}}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "delete"}}),
        json!({"securityContext": {}}),
    );
    check(json!({}), json!({"securityContext": {"$patch": "delete"}}), json!({}));
}

#[test]
fn lists_with_a_merge_key_merge_by_it() {
    check(
        json!({"containers": [{"name": "a", "image": "a:1", "tty": true}, {"name": "b", "image": "b:1"}]}),
        json!({"containers": [{"name": "a", "image": "a:2"}]}),
        json!({"containers": [{"name": "a", "image": "a:2", "tty": true}, {"name": "b", "image": "b:1"}]}),
    );
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "c"}]}),
        json!({"containers": named(&["c", "b"])}),
    );
    check(
        json!({"containers": named(&["a", "b"])}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
        json!({"containers": named(&["c"])}),
    );
    // Nested: env by name, ports by containerPort alone, volumeMounts by mountPath.
    check(
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80, "name": "http"}]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}], "ports": [{"containerPort": 80, "name": "web"}]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}], "ports": [{"containerPort": 80, "name": "web"}]}]}),
    );
}

#[test]
fn lists_without_a_merge_strategy_are_replaced() {
    check(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": [{"key": "b"}]}),
        json!({"tolerations": [{"key": "b"}]}),
    );
    check(
        json!({"containers": [{"name": "a", "args": ["x"]}]}),
        json!({"containers": [{"name": "a", "args": ["y"]}]}),
        json!({"containers": [{"name": "a", "args": ["y"]}]}),
    );
}

#[test]
fn lists_of_scalars_with_a_merge_strategy_are_sets() {
    let object = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    for (patch, expected) in [
        (json!({"finalizers": ["d", "a"]}), json!(["d", "a", "b", "c"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["b"]}), json!(["a", "c"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]}), json!(["d", "a", "c"])),
        (json!({"$setElementOrder/finalizers": ["c", "b", "a"]}), json!(["c", "b", "a"])),
    ] {
        let patched = strategic(POD, &object, &json!({"metadata": patch})).unwrap();
        assert_eq!(patched["metadata"]["finalizers"], expected, "{patch}");
    }
}

#[test]
fn the_order_of_a_list_can_be_set() {
    let order = |names: &[&str]| named(names);
    check(
        json!({"containers": named(&["a", "b", "c"])}),
        json!({"$setElementOrder/containers": order(&["c", "a"])}),
        json!({"containers": named(&["b", "c", "a"])}),
    );
    check(
        json!({"containers": named(&["a", "b"])}),
        json!({"$setElementOrder/containers": order(&["n", "b"]), "containers": [{"name": "n"}]}),
        json!({"containers": named(&["n", "a", "b"])}),
    );
    check(
        json!({}),
        json!({"$setElementOrder/containers": order(&["b", "a"]), "containers": [{"name": "b"}, {"name": "a"}]}),
        json!({"containers": named(&["b", "a"])}),
    );
    check(
        json!({"containers": named(&["a", "b"])}),
        json!({"$setElementOrder/containers": order(&["b"]), "containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": named(&["b"])}),
    );
    let error = strategic(
        POD,
        &json!({"spec": {"containers": named(&["a"])}}),
        &json!({"spec": {"$setElementOrder/containers": order(&["b", "a"]), "containers": named(&["a", "b"])}}),
    );
    assert!(error.unwrap_err().details.unwrap().causes[0].message.starts_with("The order in patch list:"));
}

#[test]
fn retained_keys_clear_the_others() {
    let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let patched = strategic(DEPLOYMENT, &object, &patch).unwrap();
    assert_eq!(patched, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    check(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}});
    let status = strategic(DEPLOYMENT, &object, &patch).unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (400, "invalid patch format of retainKeys"));
}

#[test]
fn bad_strategic_patches() {
    let object = json!({"spec": {"containers": named(&["a"])}, "metadata": {"finalizers": ["x"]}});
    for (patch, code, text) in [
        (json!({"metadata": {"$deleteFromPrimitiveList": ["a"]}}), 400, "invalid patch format of primitive list"),
        (json!({"metadata": {"$setElementOrder": ["a"]}}), 400, "invalid patch format of setElementOrder list"),
        (json!({"spec": {"$patch": "jump"}}), 422, r#"unknown patch type: "jump" in map: {}"#),
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            422,
            r#"map: {"image":"x"} does not contain declared merge key: name"#,
        ),
        (json!({"metadata": {"finalizers": [["x"]]}}), 422, "lists of lists are not supported"),
    ] {
        let status = strategic(POD, &object, &patch).unwrap_err();
        let cause = status.details.as_ref().map(|details| details.causes[0].message.clone());
        assert_eq!((status.code, cause.unwrap_or(status.message).as_str()), (code, text));
    }
}

#[test]
fn status_conditions_merge_by_type() {
    let object = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}]}});
    let patch = json!({"status": {
        "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "PodScheduled"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    let patched = strategic(POD, &object, &patch).unwrap();
    assert_eq!(
        patched["status"]["conditions"],
        json!([{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}])
    );
}
