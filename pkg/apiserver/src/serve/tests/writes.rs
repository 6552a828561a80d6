use super::*;
use crate::testing::Fixture;

#[tokio::test]
async fn an_object_is_served_as_the_bytes_that_were_stored() {
    let api = Fixture::new().await;
    let created = api.post(MAPS, config_map("a")).await;
    assert_eq!(created.code, 201);
    let object = created.ok();
    let (uid, time) = (&object["metadata"]["uid"], &object["metadata"]["creationTimestamp"]);
    let expected = format!(
        "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"2\",\"creationTimestamp\":{time},\
         \"labels\":{{\"app\":\"a\"}},\"name\":\"a\",\"namespace\":\"default\",\"uid\":{uid}}},\"data\":{{\"a\":\"1\"}}}}\n"
    );
    assert_eq!(created.text(), expected);
    assert_eq!(api.get(&format!("{MAPS}/a")).await.text(), expected);
    let item = expected.trim_end().replacen("\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",", "", 1);
    let list = format!(
        "{{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"2\"}},\"items\":[{item}]}}\n"
    );
    assert_eq!(api.get(MAPS).await.text(), list);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let again = api.post(MAPS, config_map("a")).await;
    assert_eq!(again.message(), (409, "configmaps \"a\" already exists".into()));
    assert_eq!(again.json()["reason"], "AlreadyExists");
    assert_eq!(again.json()["details"], json!({"name": "a", "kind": "configmaps"}));
    let dry = api.post(&format!("{MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!(dry.code, 409, "a dry run sees the conflict");
}

#[tokio::test]
async fn generated_names_are_new_and_of_upstreams_alphabet() {
    let api = Fixture::new().await;
    let body = json!({"metadata": {"generateName": "x-"}});
    for _ in 0..3 {
        let made = api.post(MAPS, body.clone()).await.ok();
        let name = made["metadata"]["name"].as_str().unwrap().strip_prefix("x-").unwrap().to_owned();
        assert_eq!(name.len(), 5);
        assert!(name.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)), "{name}");
    }
    assert_eq!(names(&api.get(MAPS).await.ok()).len(), 3);
}

#[tokio::test]
async fn an_update_needs_the_current_revision_or_none() {
    let api = Fixture::new().await;
    let mut object = api.post(MAPS, config_map("a")).await.ok();
    let path = format!("{MAPS}/a");
    object["data"]["a"] = json!("2");
    let changed = api.put(&path, object.clone()).await.ok();
    assert!(revision(&changed) > revision(&object));
    assert_eq!(changed["metadata"]["uid"], object["metadata"]["uid"]);

    object["data"]["a"] = json!("3");
    let stale = api.put(&path, object.clone()).await;
    let text = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes \
                to the latest version and try again";
    assert_eq!(stale.message(), (409, text.into()));

    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(api.put(&path, object.clone()).await.ok()["data"]["a"], "3", "no revision overwrites");

    object["metadata"]["uid"] = json!("someone-else");
    assert_eq!(api.put(&path, object).await.code, 409, "another UID is another object");
    assert_eq!(api.put(&format!("{MAPS}/b"), config_map("b")).await.code, 404);
    assert_eq!(api.put(&format!("{MAPS}/c"), config_map("b")).await.code, 404);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let api = Fixture::new().await;
    let object = api.post(MAPS, config_map("a")).await.ok();
    let same = api.put(&format!("{MAPS}/a"), object.clone()).await.ok();
    assert_eq!(revision(&same), revision(&object));
    let same = api.patch(&format!("{MAPS}/a"), "merge", json!({"data": {"a": "1"}})).await.ok();
    assert_eq!(same, object);
    assert_eq!(revision(&api.get(MAPS).await.ok()), revision(&object));
}

#[tokio::test]
async fn a_dry_run_answers_and_leaves_no_trace() {
    let api = Fixture::new().await;
    let answer = api.post(&format!("{MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!((answer.code.as_u16(), &answer.json()["metadata"]["name"]), (201, &json!("a")));
    assert_eq!(api.get(&format!("{MAPS}/a")).await.code, 404);
    api.post(MAPS, config_map("a")).await.ok();
    let path = format!("{MAPS}/a?dryRun=All");
    assert_eq!(api.patch(&path, "merge", json!({"data": {"a": "9"}})).await.ok()["data"]["a"], "9");
    api.delete(&path).await.ok();
    assert_eq!(api.get(&format!("{MAPS}/a")).await.ok()["data"]["a"], "1");
}

#[tokio::test]
async fn each_kind_of_patch_does_what_it_says() {
    let api = Fixture::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let containers = json!([{"name": "a", "image": "one"}, {"name": "b", "image": "one"}]);
    api.post(pods, json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})).await.ok();
    let path = format!("{pods}/p");
    let strategic = json!({"spec": {"containers": [{"name": "b", "image": "two"}]}});
    let pod = api.patch(&path, "strategic-merge", strategic).await.ok();
    let images: Vec<_> = pod["spec"]["containers"].as_array().unwrap().iter().map(|c| c["image"].clone()).collect();
    assert_eq!(images, [json!("one"), json!("two")]);
    let operations = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "three"}]);
    assert_eq!(api.patch(&path, "json", operations).await.ok()["spec"]["containers"][0]["image"], "three");
    let merge = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(api.patch(&path, "merge", merge).await.ok()["metadata"]["labels"]["x"], "y");
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"x": "z"}}});
    assert_eq!(api.patch(&path, "merge", stale).await.code, 409);
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let api = Fixture::new().await;
    let nodes = "/api/v1/namespaces/default/pods";
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    let made =
        api.post(nodes, json!({"metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Failed"}})).await.ok();
    assert_eq!(made["status"]["phase"], "Pending", "a creator has no say in the status");
    let path = format!("{nodes}/p");
    let both = json!({"metadata": {"labels": {"x": "1"}}, "status": {"phase": "Running"}});
    let seen = api.patch(&path, "merge", both.clone()).await.ok();
    assert_eq!((&seen["metadata"]["labels"]["x"], &seen["status"]["phase"]), (&json!("1"), &json!("Pending")));
    let both = json!({"spec": {"priority": 7}, "status": {"phase": "Running"}});
    let seen = api.patch(&format!("{path}/status"), "merge", both).await.ok();
    assert_eq!((&seen["status"]["phase"], &seen["spec"]["priority"]), (&json!("Running"), &made["spec"]["priority"]));
    assert_eq!(api.get(&format!("{path}/status")).await.ok()["status"]["phase"], "Running");
}

#[tokio::test]
async fn generation_counts_changes_of_the_spec() {
    let api = Fixture::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let made = api.post(deployments, json!({"metadata": {"name": "d", "generation": 9}, "spec": spec})).await.ok();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["replicas"], 1, "defaults are set");
    let path = format!("{deployments}/d");
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(api.patch(&path, "merge", labels).await.ok()["metadata"]["generation"], 1);
    let spec = json!({"spec": {"replicas": 3}});
    assert_eq!(api.patch(&path, "merge", spec).await.ok()["metadata"]["generation"], 2);
    let status = json!({"status": {"replicas": 3}});
    assert_eq!(api.patch(&format!("{path}/status"), "merge", status).await.ok()["metadata"]["generation"], 2);
}

#[tokio::test]
async fn writers_of_one_object_lose_no_update() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let (api, path) = (std::sync::Arc::new(api), format!("{MAPS}/a"));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let (api, path) = (api.clone(), path.clone());
        writers.spawn(async move {
            let key = format!("w{writer}");
            api.patch(&path, "merge", json!({"data": {key: "1"}})).await.ok();
        });
    }
    writers.join_all().await;
    let data = api.get(&path).await.ok()["data"].as_object().unwrap().len();
    assert_eq!(data, 17, "16 writers and the first value");
}

#[tokio::test]
async fn a_group_that_is_stored_as_another_sees_the_same_objects() {
    let api = Fixture::new().await;
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Look", "reason": "Seen",
        "type": "Normal", "note": "hello", "reportingController": "x.io/y", "reportingInstance": "y-1",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    api.post(events, event).await.ok();
    let core = api.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("hello")));
    assert_eq!(core["involvedObject"]["name"], "p");
    let list = api.get(&format!("{events}?fieldSelector=regarding.name%3Dp")).await.ok();
    assert_eq!((&list["kind"], &list["items"][0]["note"]), (&json!("EventList"), &json!("hello")));
    let none = api.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dq").await.ok();
    assert_eq!(names(&none).len(), 0);
}

#[tokio::test]
async fn bodies_in_protobuf_are_what_client_go_sends() {
    use crate::testing::request;
    let api = Fixture::new().await;
    // k8s\0 Unknown{ typeMeta=1{ apiVersion=1 "v1", kind=2 "ConfigMap" }, raw=2{ metadata=1{ name=1 "p" }, data=2{ "a": "1" } } }
    let body: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01p\x12\x06\x0a\x01a\x12\x011";
    let media = "application/vnd.kubernetes.protobuf";
    let made = api.call(request(http::Method::POST, MAPS, media, body.into())).await.ok();
    assert_eq!((&made["metadata"]["name"], &made["data"]), (&json!("p"), &json!({"a": "1"})));
    // DeleteOptions{ preconditions=2{ uid=1 "x" } }
    let body: &[u8] = b"k8s\0\x12\x05\x12\x03\x0a\x01x";
    let path = format!("{MAPS}/p");
    assert_eq!(api.call(request(http::Method::DELETE, &path, media, body.into())).await.code, 409);
}

#[tokio::test]
async fn put_creates_only_kinds_that_allow_it_and_only_under_its_name() {
    let api = Fixture::new().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let made = api.put(&format!("{leases}/a"), json!({"metadata": {"name": "a"}})).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let other = api.put(&format!("{leases}/b"), json!({"metadata": {"name": "c"}})).await;
    let text = "the name of the object (c) does not match the name on the URL (b)";
    assert_eq!(other.message(), (400, text.into()));
    assert_eq!(api.get(&format!("{leases}/c")).await.code, 404);
}

#[tokio::test]
async fn a_new_object_brings_no_revision() {
    let api = Fixture::new().await;
    let body = json!({"metadata": {"name": "a", "resourceVersion": "7"}});
    let text = "resourceVersion should not be set on objects to be created";
    assert_eq!(api.post(MAPS, body).await.message(), (400, text.into()));
}
