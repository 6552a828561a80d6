use axum::body::Body;
use http::Method;

use super::*;
use crate::testing::{Fixture, request};

async fn fill(api: &Fixture, count: usize) {
    for index in 0..count {
        api.post(MAPS, config_map(&format!("m{index:02}"))).await.ok();
    }
}

#[tokio::test]
async fn pages_fit_together_whatever_is_written_meanwhile() {
    let api = Fixture::new().await;
    fill(&api, 7).await;
    let first = api.get(&format!("{MAPS}?limit=3")).await.ok();
    assert_eq!(names(&first), ["m00", "m01", "m02"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    api.delete(&format!("{MAPS}/m04")).await.ok();
    api.post(MAPS, config_map("m99")).await.ok();
    let second = api.get(&format!("{MAPS}?limit=3&continue={token}")).await.ok();
    assert_eq!(names(&second), ["m03", "m04", "m05"]);
    assert_eq!(revision(&second), revision(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = api.get(&format!("{MAPS}?limit=3&continue={token}")).await.ok();
    assert_eq!(names(&third), ["m06"]);
    assert!(third["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn pages_without_writes_need_no_history() {
    let api = Fixture::new().await;
    fill(&api, 5).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
        seen.extend(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen, ["m00", "m01", "m02", "m03", "m04"]);
}

#[tokio::test]
async fn a_token_of_a_compacted_revision_comes_back_as_one_for_the_present() {
    use knarr_store::Store;
    let api = Fixture::new().await;
    fill(&api, 4).await;
    let first = api.get(&format!("{MAPS}?limit=2")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    api.post(MAPS, config_map("m98")).await.ok();
    api.store.compact(api.registry.revision()).await.unwrap();
    let expired = api.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((expired.code.as_u16(), &expired.json()["reason"]), (410, &json!("Expired")));
    let token = expired.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = api.get(&format!("{MAPS}?continue={token}")).await.ok();
    assert_eq!(names(&rest), ["m02", "m03", "m98"]);
}

#[tokio::test]
async fn revisions_of_lists_mean_what_upstream_says() {
    let api = Fixture::new().await;
    fill(&api, 2).await;
    let before = revision(&api.get(MAPS).await.ok());
    api.post(MAPS, config_map("new")).await.ok();
    assert_eq!(names(&api.get(MAPS).await.ok()).len(), 3);
    let get = async |query: &str| api.get(&format!("{MAPS}?{query}")).await;
    assert_eq!(names(&get("resourceVersion=0").await.ok()).len(), 3);
    assert_eq!(names(&get(&format!("resourceVersion={before}")).await.ok()).len(), 3, "at least that revision");
    let exact = get(&format!("resourceVersion={before}&resourceVersionMatch=Exact")).await.ok();
    assert_eq!((names(&exact).len(), revision(&exact)), (2, before));
    let legacy = get(&format!("resourceVersion={before}&limit=9")).await.ok();
    assert_eq!(names(&legacy).len(), 2, "with a limit it has always meant exactly");
    let future = get("resourceVersion=999999").await;
    assert_eq!(future.code, 504);
    assert_eq!(future.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(get("resourceVersionMatch=Exact").await.code, 422);
    assert_eq!(get("resourceVersion=x").await.code, 400);
    assert_eq!(get("continue=%25%25").await.code, 400);
}

#[tokio::test]
async fn selectors_select() {
    let api = Fixture::new().await;
    fill(&api, 3).await;
    api.post("/api/v1/namespaces/other/configmaps", config_map("m01")).await.ok();
    let table: &[(&str, &[&str])] = &[
        ("labelSelector=app%3Dm01", &["m01"]),
        ("labelSelector=app+in+(m00,m02)", &["m00", "m02"]),
        ("labelSelector=!app", &[]),
        ("fieldSelector=metadata.name%3Dm02", &["m02"]),
        ("fieldSelector=metadata.name!%3Dm02", &["m00", "m01"]),
        ("fieldSelector=metadata.namespace%3Dother", &[]),
    ];
    for (query, expected) in table {
        assert_eq!(names(&api.get(&format!("{MAPS}?{query}")).await.ok()), *expected, "{query}");
    }
    let all = "/api/v1/configmaps";
    assert_eq!(names(&api.get(all).await.ok()).len(), 4);
    let other = api.get(&format!("{all}?fieldSelector=metadata.namespace%3Dother")).await.ok();
    assert_eq!(names(&other), ["m01"]);
    assert_eq!(names(&api.get(&format!("{all}?fieldSelector=metadata.name%3Dm01")).await.ok()).len(), 2);
    let unknown = api.get(&format!("{MAPS}?fieldSelector=data.a%3D1")).await;
    let text = "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!(unknown.message(), (400, text.into()));
    assert_eq!(api.get("/api/v1/pods?fieldSelector=spec.x%3D1").await.message().1, "field label not supported: spec.x");
    assert_eq!(api.get(&format!("{MAPS}?labelSelector=a%3D%3D%3Db")).await.code, 400);
}

#[tokio::test]
async fn a_list_sees_what_was_acknowledged_before() {
    let api = Fixture::new().await;
    for index in 0..50 {
        let name = format!("m{index:02}");
        api.post(MAPS, config_map(&name)).await.ok();
        assert_eq!(names(&api.get(MAPS).await.ok()).last(), Some(&name));
    }
}

#[tokio::test]
async fn clients_get_the_form_they_accept() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let get = async |path: &str, accept: &str| {
        let mut request = request(Method::GET, path, "", Body::empty());
        request.headers_mut().insert("accept", accept.parse().unwrap());
        api.call(request).await
    };
    let table = get(MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await.ok();
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "a");
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = get(MAPS, partial).await.ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0].get("data").is_none());
    let one = get(&format!("{MAPS}/a"), "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await.ok();
    assert_eq!(one["metadata"]["labels"]["app"], "a");
    assert!(one.get("data").is_none());
    let yaml = get(&format!("{MAPS}/a"), "application/yaml").await;
    assert!(yaml.text().contains("kind: ConfigMap\n"), "{}", yaml.text());
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert_eq!(get(MAPS, "application/vnd.kubernetes.protobuf").await.code, 406);
    assert!(api.get(&format!("{MAPS}?pretty=true")).await.text().contains("\n  \"items\": ["));
}

#[tokio::test]
async fn every_version_of_a_kind_has_the_same_table() {
    let api = Fixture::new().await;
    let scaler = json!({
        "metadata": {"name": "web"},
        "spec": {
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    });
    api.post("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", scaler).await.ok();
    let event = json!({
        "metadata": {"name": "moved"}, "eventTime": "2020-01-02T03:04:05.000006Z", "action": "Moving", "reason": "Moved",
        "note": "to the left", "type": "Normal", "reportingController": "example.com/a", "reportingInstance": "one",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
    });
    api.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await.ok();
    for (path, versions, cells) in [
        ("horizontalpodautoscalers/web", ["apis/autoscaling/v1", "apis/autoscaling/v2"], json!(["cpu: <unknown>/50%"])),
        ("events/moved", ["apis/events.k8s.io/v1", "api/v1"], json!(["Moved", "pod/web", "to the left"])),
    ] {
        for version in versions {
            let path = format!("/{version}/namespaces/default/{path}");
            let mut request = request(Method::GET, &path, "", Body::empty());
            let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
            request.headers_mut().insert("accept", table.parse().unwrap());
            let row = api.call(request).await.ok()["rows"][0]["cells"].clone();
            let all = row.as_array().unwrap();
            assert!(cells.as_array().unwrap().iter().all(|cell| all.contains(cell)), "{path}: {row}");
        }
    }
}

#[tokio::test]
async fn large_lists_are_streamed_and_compressed_for_those_who_accept_it() {
    use std::io::Read;
    let api = Fixture::new().await;
    for index in 0..20 {
        let data = json!({"a": format!("{index:010}").repeat(1000)});
        api.post(MAPS, json!({"metadata": {"name": format!("m{index:02}")}, "data": data})).await.ok();
    }
    let plain = api.get(MAPS).await;
    assert!(plain.headers.get("content-encoding").is_none());
    assert_eq!(names(&plain.ok()).len(), 20);
    let mut asking = request(Method::GET, MAPS, "", Body::empty());
    asking.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let packed = api.call(asking).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.bytes.len() < plain.bytes.len() / 4);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed.bytes).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.bytes);
}

#[tokio::test]
async fn no_revision_is_told_that_a_power_cut_could_take_back() {
    use knarr_store::Store;
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}});
    let relaxed = revision(&api.post("/api/v1/namespaces/default/events", event).await.ok());
    let (durable, told) = (api.store.durable_revision(), revision(&api.get(MAPS).await.ok()));
    assert!(told < relaxed && told <= durable, "told {told}, durable {durable}, relaxed {relaxed}");
    assert!(revision(&api.get("/api/v1/events").await.ok()) >= relaxed, "events may be ahead of the disk");
}

#[tokio::test]
async fn component_statuses_are_answered_without_being_stored() {
    let api = Fixture::new().await;
    let list = api.get("/api/v1/componentstatuses").await.ok();
    assert_eq!(names(&list), ["controller-manager", "scheduler", "etcd-0"]);
    let one = api.get("/api/v1/componentstatuses/scheduler").await.ok();
    assert_eq!((&one["kind"], &one["conditions"][0]["status"]), (&json!("ComponentStatus"), &json!("True")));
    assert_eq!(api.get("/api/v1/componentstatuses/x").await.code, 404);
}
