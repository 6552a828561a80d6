use super::*;
use crate::testing::{Fixture, request};

async fn delete_with(api: &Fixture, path: &str, options: Value) -> crate::testing::Answer {
    api.call(request(http::Method::DELETE, path, "application/json", options.to_string().into())).await
}

#[tokio::test]
async fn a_delete_names_what_went() {
    let api = Fixture::new().await;
    let object = api.post(MAPS, config_map("a")).await.ok();
    let path = format!("{MAPS}/a");
    let gone = api.delete(&path).await.ok();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"], json!({"name": "a", "kind": "configmaps", "uid": object["metadata"]["uid"]}));
    assert_eq!(api.delete(&path).await.message(), (404, "configmaps \"a\" not found".into()));
}

#[tokio::test]
async fn preconditions_are_checked() {
    let api = Fixture::new().await;
    let object = api.post(MAPS, config_map("a")).await.ok();
    let (path, uid) = (format!("{MAPS}/a"), object["metadata"]["uid"].as_str().unwrap());
    let wrong = delete_with(&api, &path, json!({"preconditions": {"uid": "x"}})).await;
    let text = format!(
        "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in precondition: x, UID in object meta: {uid}"
    );
    assert_eq!(wrong.message(), (409, text));
    assert_eq!(delete_with(&api, &path, json!({"preconditions": {"resourceVersion": "1"}})).await.code, 409);
    delete_with(&api, &path, json!({"preconditions": {"uid": uid, "resourceVersion": "2"}})).await.ok();
}

#[tokio::test]
async fn options_are_read_as_go_reads_them() {
    let api = Fixture::new().await;
    let path = "/api/v1/namespaces/default/pods/p";
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    let none = json!({"dryRun": null, "preconditions": null, "gracePeriodSeconds": null});
    let (zero, typed) = (json!({"gracePeriodSeconds": 0}), json!({"kind": "DeleteOptions", "apiVersion": "policy/v1"}));
    let table = [
        (none, 200, "30"),
        (zero, 200, ""),
        (typed, 200, "30"),
        (json!({"unknown": 1}), 200, "30"),
        (
            json!([0]),
            400,
            "unable to read options: json: cannot unmarshal array into Go value of type v1.DeleteOptions",
        ),
        (
            json!({"gracePeriodSeconds": "0"}),
            400,
            "unable to read options: json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (json!({"kind": "Pod"}), 400, "decoded object cannot be converted to DeleteOptions: it is a Pod"),
        (
            json!({"propagationPolicy": "x"}),
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"x\": supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\"",
        ),
    ];
    for (options, code, expected) in table {
        api.post("/api/v1/namespaces/default/pods", pod.clone()).await.ok();
        let answer = delete_with(&api, path, options.clone()).await;
        assert_eq!(answer.code, code, "{options}: {}", answer.text());
        if code == 200 {
            let grace = api.get(path).await.json()["metadata"]["deletionGracePeriodSeconds"].to_string();
            assert_eq!(grace.replace("null", ""), expected, "{options}");
        } else {
            assert_eq!(answer.message().1, expected);
        }
        api.delete(&format!("{path}?gracePeriodSeconds=0")).await;
    }
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let api = Fixture::new().await;
    let path = format!("{MAPS}/a");
    api.post(MAPS, json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}})).await.ok();
    let pending = api.delete(&path).await.ok();
    assert_eq!(pending["kind"], "ConfigMap");
    assert!(pending["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pending["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = api.post(MAPS, config_map("a")).await.message();
    assert_eq!(again, (409, "object is being deleted: configmaps \"a\" already exists".into()));
    assert_eq!(revision(&api.delete(&path).await.ok()), revision(&pending), "deleting again changes nothing");
    let more = json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}});
    assert_eq!(api.patch(&path, "merge", more).await.code, 422, "no new finalizers while it is being deleted");
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&pending))).await;
    api.patch(&path, "merge", json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(watch.change().await.0, "DELETED");
    assert_eq!(api.get(&path).await.code, 404);
}

#[tokio::test]
async fn propagation_becomes_a_finalizer() {
    let api = Fixture::new().await;
    for (policy, expected) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let name = policy.to_lowercase();
        api.post(MAPS, config_map(&name)).await.ok();
        let path = format!("{MAPS}/{name}");
        let pending = delete_with(&api, &path, json!({"propagationPolicy": policy})).await.ok();
        assert_eq!(pending["metadata"]["finalizers"], json!([expected]), "{policy}");
    }
    api.post(MAPS, config_map("b")).await.ok();
    api.delete(&format!("{MAPS}/b?propagationPolicy=Background")).await.ok();
    assert_eq!(api.get(&format!("{MAPS}/b")).await.code, 404);
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    assert_eq!(delete_with(&api, &format!("{MAPS}/b"), both).await.code, 422);
    assert_eq!(api.delete(&format!("{MAPS}/b?propagationPolicy=Never")).await.code, 422);
}

#[tokio::test]
async fn pods_have_a_grace_period_that_can_only_shrink() {
    let api = Fixture::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}]});
    api.post(pods, json!({"metadata": {"name": "p"}, "spec": spec})).await.ok();
    let path = format!("{pods}/p");
    let grace = |pod: &Value| pod["metadata"]["deletionGracePeriodSeconds"].clone();
    assert_eq!(grace(&api.delete(&path).await.ok()), 30);
    assert_eq!(grace(&api.delete(&format!("{path}?gracePeriodSeconds=60")).await.ok()), 30);
    assert_eq!(grace(&api.delete(&format!("{path}?gracePeriodSeconds=5")).await.ok()), 5);
    let gone = api.delete(&format!("{path}?gracePeriodSeconds=0")).await.ok();
    assert_eq!(gone["kind"], "Pod", "pods are answered with their last state");
    assert_eq!(api.get(&path).await.code, 404);
    api.post(pods, json!({"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}))
        .await
        .ok();
    api.delete(&format!("{pods}/q")).await.ok();
    assert_eq!(api.get(&format!("{pods}/q")).await.code, 404, "a pod that no node has goes at once");
}

#[tokio::test]
async fn a_collection_goes_by_its_selection() {
    let api = Fixture::new().await;
    for name in ["a", "b", "c"] {
        api.post(MAPS, config_map(name)).await.ok();
    }
    let gone = api.delete(&format!("{MAPS}?labelSelector=app+in+(a,b)")).await.ok();
    assert_eq!((&gone["kind"], names(&gone)), (&json!("ConfigMapList"), vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(names(&api.get(MAPS).await.ok()), ["c"]);
    assert_eq!(api.delete("/api/v1/namespaces").await.code, 405);
}

#[tokio::test]
async fn a_namespace_waits_for_its_controller() {
    let api = Fixture::new().await;
    let made = api.post("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await.ok();
    assert_eq!((&made["status"]["phase"], &made["spec"]["finalizers"]), (&json!("Active"), &json!(["kubernetes"])));
    let path = "/api/v1/namespaces/x";
    let mut going = api.delete(path).await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(revision(&api.delete(path).await.ok()), revision(&going));
    going["spec"]["finalizers"] = json!([]);
    api.put(&format!("{path}/finalize"), going).await.ok();
    assert_eq!(api.get(path).await.code, 404);
}
