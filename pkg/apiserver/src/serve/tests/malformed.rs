use axum::body::Body;
use http::Method;

use super::*;
use crate::testing::{Answer, Fixture, request};

async fn send(api: &Fixture, method: Method, path: &str, media: &str, body: &str) -> Answer {
    api.call(request(method, path, media, Body::from(body.to_owned()))).await
}

#[tokio::test]
async fn no_body_is_answered_with_a_500() {
    let api = Fixture::new().await;
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "7",
        "{\"metadata\":7}",
        "{\"metadata\":{\"name\":7}}",
        "{\"metadata\":{\"name\":\"\"}}",
        "{\"metadata\":{\"name\":\"A_B\"}}",
        "{\"metadata\":{\"name\":\"..\"}}",
        "{\"metadata\":{\"name\":\"a/b\"}}",
        "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}",
        "{\"apiVersion\":\"v2\",\"metadata\":{\"name\":\"a\"}}",
        "{\"metadata\":{\"name\":\"a\",\"labels\":{\"x y\":\"1\"}}}",
        "{\"metadata\":{\"name\":\"a\",\"labels\":[]}}",
        "{\"metadata\":{\"name\":\"a\",\"namespace\":\"other\"}}",
        "{\"metadata\":{\"name\":\"a\"},\"data\":{\"x\":1}}",
        "{\"metadata\":{\"name\":\"a\"},\"data\":\"x\"}",
        "{\"metadata\":{\"name\":\"a\"},\"binaryData\":{\"x\":\"%%%\"}}",
        "{\"metadata\":{\"name\":\"a\",\"ownerReferences\":[{}]}}",
        "{\"metadata\":{\"name\":\"a\",\"finalizers\":[\"x y\"]}}",
        "\u{0}",
        "{\"a\":\"\u{fffd}\"}",
        "{\"metadata\":{\"name\":\"a\"}} trailing",
    ];
    for media in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", ""] {
        for body in bodies {
            let answer = send(&api, Method::POST, MAPS, media, body).await;
            let code = answer.code.as_u16();
            assert!(matches!(code, 400 | 422), "{media} {body:?}: {code} {}", answer.text());
            assert_eq!(answer.json()["kind"], "Status");
        }
    }
    for kind in ["json", "merge", "strategic-merge"] {
        api.post(MAPS, config_map("a")).await;
        for body in [
            "",
            "{",
            "null",
            "7",
            "[{}]",
            "[{\"op\":\"add\"}]",
            "[{\"op\":\"remove\",\"path\":\"/none\"}]",
            "[{\"op\":\"replace\",\"path\":\"/metadata\",\"value\":null}]",
            "{\"metadata\":null}",
            "{\"metadata\":{\"name\":\"b\"}}",
            "{\"data\":7}",
            "{\"metadata\":{\"resourceVersion\":\"x\"}}",
            "{\"data\":{\"$patch\":\"explode\"}}",
        ] {
            let path = format!("{MAPS}/a");
            let answer = send(&api, Method::PATCH, &path, &format!("application/{kind}-patch+json"), body).await;
            let code = answer.code.as_u16();
            assert!(matches!(code, 200 | 400 | 409 | 422), "{kind} {body:?}: {code} {}", answer.text());
        }
    }
}

/// What could not be read again could neither be changed nor deleted.
#[tokio::test]
async fn nothing_is_nested_deeper_than_can_be_read_again() {
    const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let api = Fixture::new().await;
    let nested = |depth: usize| "{\"a\": ".repeat(depth) + "{}" + &"}".repeat(depth);
    let revision = |data: &str| format!(r#"{{"metadata": {{"name": "a"}}, "revision": 1, "data": {data}}}"#);
    let path = format!("{REVISIONS}/a");
    // The parser of YAML needs more of the stack and stops earlier.
    for (media, most) in [("application/json", 98), ("application/yaml", 60)] {
        for (depth, code) in [(most, 201), (110, 400), (1000, 400), (100_000, 400)] {
            let made = send(&api, Method::POST, REVISIONS, media, &revision(&nested(depth))).await;
            assert_eq!(made.code.as_u16(), code, "{media} {depth}: {}", made.text());
            assert!(code == 400 || api.delete(&path).await.code == 200, "{media} {depth}");
        }
    }
    send(&api, Method::POST, REVISIONS, "application/json", &revision("{}")).await.ok();
    let deeper = |at: usize| json!({"op": "add", "path": format!("/data{}", "/a".repeat(at + 1)), "value": {"a": {}}});
    let growing: Vec<_> = (0..2000).step_by(2).map(deeper).collect();
    let doubling: Vec<_> = (0..12)
        .map(|step| json!({"op": "copy", "from": "/data", "path": format!("/data{}", "/a".repeat(1 << step))}))
        .collect();
    for patch in [growing, doubling] {
        let answer = api.patch(&path, "json", patch.into()).await;
        assert_eq!(answer.code, 422, "{}", answer.text());
    }
    assert_eq!(api.get(&path).await.ok()["data"], json!({}));
}

#[tokio::test]
async fn paths_that_are_not_there_are_404_and_methods_405() {
    let api = Fixture::new().await;
    let table = [
        (Method::GET, "/api/v1/namespaces/default/nothings", 404),
        (Method::GET, "/apis/nothing/v1/things", 404),
        (Method::GET, "/apis/apps/v9/deployments", 404),
        (Method::GET, "/apis/apps/v9", 404),
        (Method::GET, "/api/v1/namespaces/default/nodes", 404),
        (Method::GET, "/api/v1/namespaces/default/configmaps/a/nothing", 404),
        (Method::GET, "/nothing", 404),
        (Method::POST, "/api/v1/configmaps", 405),
        (Method::GET, "/api/v1/configmaps/a", 404),
        (Method::POST, "/api/v1/namespaces/default/configmaps/a", 405),
        (Method::PUT, "/api/v1/namespaces/default/configmaps", 405),
        (Method::POST, "/version", 405),
        (Method::TRACE, "/api/v1/namespaces/default/configmaps", 405),
    ];
    for (method, path, code) in table {
        let answer = send(&api, method.clone(), path, "", "").await;
        assert_eq!(answer.code.as_u16(), code, "{method} {path}: {}", answer.text());
        assert_eq!(answer.json()["kind"], "Status", "{method} {path}");
    }
}

#[tokio::test]
async fn unknown_fields_warn_or_fail_as_the_client_wishes() {
    let api = Fixture::new().await;
    let body = r#"{"metadata":{"name":"a"},"data":{},"spec":{"x":1},"data":{}}"#;
    let warned = send(&api, Method::POST, MAPS, "application/json", body).await;
    assert_eq!(warned.code, 201);
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(warnings, ["299 - \"unknown field \\\"spec\\\"\"", "299 - \"duplicate field \\\"data\\\"\""]);
    assert!(warned.json().get("spec").is_none());
    let strict = send(&api, Method::POST, &format!("{MAPS}?fieldValidation=Strict"), "application/json", body).await;
    let text = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"spec\", \
                duplicate field \"data\"";
    assert_eq!(strict.message(), (400, text.into()));
    let body = r#"{"metadata":{"name":"b"},"spec":{"x":1}}"#;
    let ignored = send(&api, Method::POST, &format!("{MAPS}?fieldValidation=Ignore"), "application/json", body).await;
    assert!(ignored.headers.get("warning").is_none());
    assert_eq!(send(&api, Method::POST, &format!("{MAPS}?fieldValidation=x"), "", body).await.code, 400);
    assert_eq!(send(&api, Method::POST, &format!("{MAPS}?dryRun=x"), "", body).await.code, 400);
}

#[tokio::test]
async fn media_types_and_sizes_are_checked() {
    let api = Fixture::new().await;
    let body = config_map("a").to_string();
    assert_eq!(send(&api, Method::POST, MAPS, "text/plain", &body).await.code, 415);
    let protobuf = send(&api, Method::POST, MAPS, "application/vnd.kubernetes.protobuf", &body).await;
    assert_eq!(protobuf.code, 400, "that is no protobuf");
    api.post(MAPS, config_map("b")).await.ok();
    let apply = send(&api, Method::PATCH, &format!("{MAPS}/b"), "application/apply-patch+yaml", "{}").await;
    assert_eq!(
        apply.message(),
        (
            415,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
                .into()
        )
    );
    let yaml = "metadata:\n  name: yam\n  labels: {app: yam}\ndata:\n  mode: \"0644\"\n";
    let made = send(&api, Method::POST, MAPS, "application/yaml", yaml).await.ok();
    assert_eq!(made["data"]["mode"], "0644");
    let huge = json!({"metadata": {"name": "h"}, "data": {"x": "y".repeat(4 << 20)}});
    let answer = api.post(MAPS, huge).await;
    assert_eq!(answer.message(), (413, "Request entity too large: limit is 3145728".into()));
    let large = json!({"metadata": {"name": "h"}, "data": {"x": "y".repeat(1 << 20)}, "binaryData": {"z": "QUJD".repeat(150_000)}});
    assert_eq!(api.post(MAPS, large).await.code.as_u16() / 100, 4);
}

#[tokio::test]
async fn errors_are_upstreams() {
    let api = Fixture::new().await;
    let forbidden = api.get(&format!("{MAPS}/forbidden")).await;
    assert_eq!(
        forbidden.message(),
        (
            403,
            "configmaps \"forbidden\" is forbidden: User \"tester\" cannot get resource \"configmaps\" in API group \"\" in \
             the namespace \"default\": not that"
                .into()
        )
    );
    assert_eq!(forbidden.json()["details"], json!({"name": "forbidden", "kind": "configmaps"}));
    let pods = "/api/v1/namespaces/default/pods";
    let invalid = api.post(pods, json!({"metadata": {"name": "p"}, "spec": {"containers": []}})).await;
    assert_eq!(invalid.message(), (422, "Pod \"p\" is invalid: spec.containers: Required value".into()));
    assert_eq!(invalid.json()["details"]["causes"][0]["field"], "spec.containers");
    let wrong = api.post(pods, json!({"metadata": {"name": "p"}, "spec": {"containers": "x"}})).await;
    assert_eq!(wrong.code, 400);
    assert!(wrong.message().1.starts_with("Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal"));
}
