use axum::body::Body;
use http::Method;

use super::*;
use crate::testing::{Fixture, request};

#[tokio::test]
async fn what_is_served_is_discovered() {
    let api = Fixture::new().await;
    assert_eq!(api.get("/api").await.ok()["versions"], json!(["v1"]));
    let groups = api.get("/apis").await.ok();
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "apps"));
    assert_eq!(api.get("/apis/apps").await.ok()["preferredVersion"]["groupVersion"], "apps/v1");
    let resources = api.get("/api/v1").await.ok();
    assert!(resources["resources"].as_array().unwrap().iter().any(|resource| resource["name"] == "pods/log"));
    assert!(api.get("/").await.ok()["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")));
    assert!(api.get("/version").await.ok()["gitVersion"].as_str().unwrap().starts_with("v1.35.4+knarr"));
}

#[tokio::test]
async fn aggregated_discovery_comes_once() {
    let api = Fixture::new().await;
    let ask = async |etag: Option<&str>| {
        let mut request = request(Method::GET, "/apis", "", Body::empty());
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        request.headers_mut().insert("accept", accept.parse().unwrap());
        if let Some(etag) = etag {
            request.headers_mut().insert("if-none-match", etag.parse().unwrap());
        }
        api.call(request).await
    };
    let first = ask(None).await;
    assert_eq!(first.ok()["kind"], "APIGroupDiscoveryList");
    assert_eq!(first.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let etag = first.headers["etag"].to_str().unwrap();
    assert_eq!(ask(Some(etag)).await.code, 304);
}

#[tokio::test]
async fn every_kind_in_the_table_answers() {
    let api = Fixture::new().await;
    for resource in api.registry.resources().iter().filter(|resource| resource.kind.verbs.contains(&"list")) {
        let kind = &resource.kind;
        for version in &kind.versions {
            let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
            let path = format!("{root}/{}/{}", version.name, kind.plural);
            if resource.cache.is_none() {
                continue;
            }
            let list = api.get(&path).await.ok();
            assert_eq!(list["kind"], format!("{}List", kind.kind), "{path}");
            assert_eq!(list["apiVersion"], kind.api_version(&version.name), "{path}");
        }
    }
}

#[tokio::test]
async fn open_api_documents_are_there_for_kubectl() {
    let api = Fixture::new().await;
    let index = api.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = api.get(&url).await;
    assert_eq!(document.ok()["openapi"], "3.0.0");
    assert_eq!(document.headers["cache-control"], "public, immutable");
    let moved = api.get("/openapi/v3/apis/apps/v1?hash=old").await;
    assert_eq!((moved.code.as_u16(), moved.headers["location"].to_str().unwrap()), (301, url.as_str()));
    assert_eq!(api.get("/openapi/v3/apis/nothing/v1").await.code, 404);
}

#[tokio::test]
async fn health_is_told_check_by_check() {
    let readiness = knarr_base::readiness::Readiness::new();
    let pending = readiness.task("bootstrap");
    let config = crate::Config { readiness, ..crate::Config::default() };
    let api = Fixture::with(config, crate::registry::Hooks::default()).await;
    for path in ["/healthz", "/livez", "/livez/ping", "/healthz/ping"] {
        assert_eq!(api.get(path).await.text(), "ok", "{path}");
    }
    let unready = api.get("/readyz").await;
    assert_eq!(unready.code, 500);
    assert!(unready.text().contains("[-]bootstrap failed: not finished\n"), "{}", unready.text());
    assert_eq!(api.get("/readyz?exclude=bootstrap").await.code, 200);
    drop(pending);
    assert_eq!(api.get("/readyz").await.text(), "ok");
    let verbose = api.get("/readyz?verbose").await.text();
    assert!(verbose.starts_with("[+]ping ok\n") && verbose.ends_with("readyz check passed\n"), "{verbose}");
    assert_eq!(api.get("/readyz/nothing").await.code, 404);
}

#[tokio::test]
async fn requests_are_counted() {
    let api = Fixture::new().await;
    api.post(MAPS, config_map("a")).await.ok();
    api.get(MAPS).await.ok();
    api.get("/api/v1/namespaces/default/made-up-by-a-client").await;
    let text = api.get("/metrics").await.text();
    let expected = "apiserver_request_total{code=\"201\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"POST\",version=\"v1\"} 1\n";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("apiserver_storage_objects{resource=\"configmaps\"} 1\n"));
    assert!(!text.contains("made-up-by-a-client"), "clients cannot make new series");
}
