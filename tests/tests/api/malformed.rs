//! Untrusted bodies and requests: upstream's Status, never a 500.

use anyhow::{Result, ensure};
use knarr_tests::api::{Answer, Api};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;
use serde_json::{Value, json};

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
const YAML: (&str, &str) = ("Content-Type", "application/yaml");

/// The answer is a Status with this code and reason whose message holds `message`.
pub(crate) fn expect(what: &str, answer: &Answer, code: u16, reason: &str, message: &str) -> Result<()> {
    ensure!(answer.status == code, "{what}: expected {code}: {answer}");
    let status = answer.json()?;
    ensure!(
        status["kind"] == "Status"
            && status["apiVersion"] == "v1"
            && status["status"] == "Failure"
            && status["code"] == code
            && status["reason"] == reason,
        "{what}: expected {code} {reason}: {answer}"
    );
    let seen = status["message"].as_str().unwrap_or_default();
    ensure!(seen.contains(message), "{what}: {message:?} is not in {seen:?}");
    Ok(())
}

pub(crate) fn bodies(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "bodies")?;
    let api = Api::admin(lab)?;
    let mut connection = api.connect()?;
    let path = format!("/api/v1/namespaces/{}/configmaps", space.name());
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let nested = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{deep}}}"#);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    for (header, body, code, reason) in [
        (JSON, &b""[..], 400, "BadRequest"),
        (JSON, b"{", 400, "BadRequest"),
        (JSON, b"null", 422, "Invalid"),
        (JSON, b"[]", 400, "BadRequest"),
        (JSON, b"\xff\xfe", 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v1","kind":"ConfigMap""#, 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#, 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v9","kind":"ConfigMap","metadata":{"name":"a"}}"#, 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":7}}"#, 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":"x"}"#, 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":1}}"#, 400, "BadRequest"),
        (JSON, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":"x"}"#, 400, "BadRequest"),
        (JSON, nested.as_bytes(), 400, "BadRequest"),
        (YAML, b"a: [", 400, "BadRequest"),
        (YAML, b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}\n", 400, "BadRequest"),
        (YAML, bomb.as_bytes(), 400, "BadRequest"),
        (("Content-Type", "text/plain"), b"{}", 415, "UnsupportedMediaType"),
        (("Content-Type", "application/xml"), b"<a/>", 415, "UnsupportedMediaType"),
        (("Content-Type", "application/vnd.kubernetes.protobuf"), b"k8s\0\xff\xff\xff", 400, "BadRequest"),
    ] {
        let shown = String::from_utf8_lossy(body.get(..80).unwrap_or(body)).into_owned();
        let answer = connection.request("POST", &path, &[header], body)?;
        expect(&format!("{header:?} {shown}"), &answer, code, reason, "")?;
    }
    let answer =
        connection.request("POST", &path, &[YAML], b"{apiVersion: v1, kind: ConfigMap, metadata: {name: yaml}}")?;
    ensure!(answer.status == 201, "YAML is understood: {answer}");
    let answer = connection.request("POST", &path, &[], br#"{"metadata":{"name":"z"}}"#)?;
    ensure!(answer.status == 201, "kind and version are those of the path: {answer}");
    Ok(())
}

pub(crate) fn unknown_fields(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "strict")?;
    let mut connection = Api::admin(lab)?.connect()?;
    let path = format!("/api/v1/namespaces/{}/configmaps", space.name());
    let body = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}","color":"red"}},"date":{{}},"data":{{"a":"1","a":"2"}}}}"#)
    };
    let answer =
        connection.request("POST", &format!("{path}?fieldValidation=Strict"), &[JSON], body("a").as_bytes())?;
    expect("strict", &answer, 400, "BadRequest", "strict decoding error: ")?;
    for part in [r#"unknown field "date""#, r#"unknown field "metadata.color""#, r#"duplicate field "data.a""#] {
        expect("strict", &answer, 400, "BadRequest", part)?;
    }
    for (query, warns) in [("", true), ("?fieldValidation=Warn", true), ("?fieldValidation=Ignore", false)] {
        let name = format!("a{}", query.len());
        let answer = connection.request("POST", &format!("{path}{query}"), &[JSON], body(&name).as_bytes())?;
        ensure!(answer.status == 201, "{query}: {answer}");
        let warnings: Vec<_> =
            answer.headers.iter().filter(|line| line.to_lowercase().starts_with("warning: 299")).collect();
        ensure!(warnings.is_empty() != warns, "{query}: {warnings:?}");
        ensure!(!warns || warnings.iter().any(|line| line.contains(r#"unknown field \"date\""#)), "{warnings:?}");
        let object = answer.json()?;
        ensure!(object["date"].is_null() && object["metadata"]["color"].is_null(), "dropped: {object}");
        ensure!(object["data"]["a"] == "2", "the last of two counts: {object}");
    }
    let answer = connection.request("POST", &format!("{path}?fieldValidation=Loud"), &[JSON], body("b").as_bytes())?;
    ensure!((400..500).contains(&answer.status), "{answer}");
    Ok(())
}

pub(crate) fn requests(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "requests")?;
    let mut connection = Api::admin(lab)?.connect()?;
    let (maps, one) =
        ("/api/v1/namespaces/requests/configmaps", "/api/v1/namespaces/requests/configmaps/kube-root-ca.crt");
    space.kubectl(&["wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=30s"])?;
    let merge = ("Content-Type", "application/merge-patch+json");
    for (method, path, header, body, code, reason) in [
        ("GET", "/absent", JSON, "", 404, "NotFound"),
        ("GET", "/api/v9/pods", JSON, "", 404, "NotFound"),
        ("GET", "/apis/absent.io/v1/things", JSON, "", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/requests/absents", JSON, "", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/requests/configmaps/absent", JSON, "", 404, "NotFound"),
        ("DELETE", "/api/v1/namespaces/requests/configmaps/absent", JSON, "", 404, "NotFound"),
        ("POST", "/api/v1/namespaces/absent/configmaps", JSON, r#"{"metadata":{"name":"a"}}"#, 404, "NotFound"),
        ("POST", one, JSON, "{}", 405, "MethodNotAllowed"),
        ("PUT", maps, JSON, "{}", 405, "MethodNotAllowed"),
        ("PATCH", one, JSON, "{}", 415, "UnsupportedMediaType"),
        ("PATCH", one, merge, "[", 400, "BadRequest"),
        ("PATCH", one, merge, "7", 400, "BadRequest"),
        ("PATCH", one, ("Content-Type", "application/json-patch+json"), "{}", 400, "BadRequest"),
        ("GET", "/api/v1/pods?labelSelector=a+%3D%3D%3D", JSON, "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?fieldSelector=absent%3D1", JSON, "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?limit=x", JSON, "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?continue=nonsense", JSON, "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?watch=1&resourceVersion=x", JSON, "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?timeoutSeconds=x", JSON, "", 400, "BadRequest"),
        ("DELETE", "/api/v1/namespaces/requests/configmaps/absent?gracePeriodSeconds=x", JSON, "", 400, "BadRequest"),
        ("GET", "/api/v1/namespaces/requests/pods/absent/log", JSON, "", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/%2e%2e/configmaps/a%2fb", JSON, "", 404, "NotFound"),
    ] {
        let answer = connection.request(method, path, &[header], body.as_bytes())?;
        ensure!(answer.status < 500, "{method} {path}: {answer}");
        ensure!(answer.status == code, "{method} {path} {body}: expected {code} {reason}: {answer}");
        // Paths that belong to no kind get plain text, as upstream.
        if let Ok(status) = answer.json() {
            ensure!(status["reason"] == reason, "{method} {path}: expected {reason}: {answer}");
        }
    }
    let answer = connection.request("GET", "/api/v1/namespaces/requests/configmaps/absent", &[], b"")?;
    expect("absent", &answer, 404, "NotFound", r#"configmaps "absent" not found"#)?;
    ensure!(answer.json()?["details"] == json!({"name": "absent", "kind": "configmaps"}), "{answer}");
    Ok(())
}

pub(crate) fn oversized(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "oversized")?;
    let api = Api::admin(lab)?;
    let path = format!("/api/v1/namespaces/{}/configmaps", space.name());
    let body = |size: usize| json!({"metadata": {"name": "big"}, "data": {"a": "x".repeat(size)}}).to_string();
    let answer = api.request("POST", &path, &[JSON], body((1 << 20) + 1).as_bytes())?;
    expect("1 MiB of data", &answer, 422, "Invalid", "Too long: may not be more than 1048576 bytes")?;
    // Upstream's limit of a body is 3 MiB; the server may close the connection right after its answer.
    let answer = api.connect().and_then(|mut connection| {
        connection.send_part("POST", &path, &[JSON], 4 << 20, body((3 << 20) + 100).as_bytes())?;
        connection.answer()
    })?;
    expect("4 MiB", &answer, 413, "RequestEntityTooLarge", "limit is 3145728")?;
    let answer = api.post(&path, &json!({"metadata": {"name": "x".repeat(254)}}))?;
    expect("a long name", &answer, 422, "Invalid", "must be no more than 253")?;
    let many: serde_json::Map<String, Value> =
        (0..3000).map(|number| (format!("key-{number}"), Value::from("x".repeat(100)))).collect();
    let answer = api.post(&path, &json!({"metadata": {"name": "a", "annotations": many}}))?;
    expect("256 KiB of annotations", &answer, 422, "Invalid", "metadata.annotations: Too long")?;
    let long = "x".repeat(100_000);
    let answer = api.request("GET", &format!("/api/v1/pods?labelSelector={long}"), &[], b"");
    ensure!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)), "a long request line");
    Ok(())
}

pub(crate) fn invalid_objects(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "invalid")?;
    let api = Api::admin(lab)?;
    let pod = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let (core, apps) =
        (format!("/api/v1/namespaces/{}", space.name()), format!("/apis/apps/v1/namespaces/{}", space.name()));
    for (path, object, reason, message) in [
        (
            format!("{core}/configmaps"),
            json!({"metadata": {"name": "Not_A_Name"}}),
            "Invalid",
            "a lowercase RFC 1123 subdomain must consist of",
        ),
        (format!("{core}/configmaps"), json!({"metadata": {}}), "Invalid", "name or generateName is required"),
        (
            format!("{core}/configmaps"),
            json!({"metadata": {"name": "a", "labels": {"a b": "c"}}}),
            "Invalid",
            "metadata.labels: Invalid value",
        ),
        (
            format!("{core}/services"),
            json!({"metadata": {"name": "a"}, "spec": {}}),
            "Invalid",
            "spec.ports: Required value",
        ),
        (
            format!("{core}/services"),
            json!({"metadata": {"name": "a.b"}, "spec": {"ports": [{"port": 80}]}}),
            "Invalid",
            "a DNS-1035 label must consist of",
        ),
        (
            format!("{core}/services"),
            json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}}),
            "Invalid",
            "spec.clusterIPs: Invalid value",
        ),
        (
            format!("{core}/services"),
            json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 99}]}}),
            "Invalid",
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (format!("{core}/pods"), pod(json!({})), "Invalid", "spec.containers: Required value"),
        (
            format!("{core}/pods"),
            pod(json!({"containers": [{"name": "a"}]})),
            "Invalid",
            "spec.containers[0].image: Required value",
        ),
        (
            format!("{core}/pods"),
            pod(json!({"containers": [{"name": "a", "image": "b"}, {"name": "a", "image": "b"}]})),
            "Invalid",
            r#"spec.containers[1].name: Duplicate value: "a""#,
        ),
        (
            format!("{core}/pods"),
            pod(json!({"restartPolicy": "Maybe", "containers": [{"name": "a", "image": "b"}]})),
            "Invalid",
            r#"spec.restartPolicy: Unsupported value: "Maybe""#,
        ),
        (
            format!("{core}/pods"),
            pod(json!({"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": "lots"}}}]})),
            "BadRequest",
            "quantities must match the regular expression",
        ),
        (
            format!("{core}/pods"),
            pod(json!({"serviceAccountName": "absent", "containers": [{"name": "a", "image": "b"}]})),
            "Forbidden",
            r#"error looking up service account invalid/absent: serviceaccount "absent" not found"#,
        ),
        (
            format!("{core}/pods"),
            pod(json!({"priorityClassName": "absent", "containers": [{"name": "a", "image": "b"}]})),
            "Forbidden",
            r#"no PriorityClass with name absent was found"#,
        ),
        (
            format!("{apps}/deployments"),
            json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}),
            "Invalid",
            "`selector` does not match template `labels`",
        ),
        (
            format!("{apps}/deployments"),
            json!({"metadata": {"name": "a"}, "spec": {"replicas": -1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}),
            "Invalid",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "/api/v1/namespaces".into(),
            json!({"metadata": {"name": "UP"}}),
            "Invalid",
            "a lowercase RFC 1123 label must consist of",
        ),
        (
            "/api/v1/namespaces".into(),
            json!({"metadata": {"name": "invalid"}}),
            "AlreadyExists",
            r#"namespaces "invalid" already exists"#,
        ),
        (format!("{core}/secrets"), json!({"metadata": {"name": "a"}, "data": {"a": "no base64!"}}), "BadRequest", ""),
        (
            format!("{core}/configmaps"),
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let answer = api.post(&path, &object)?;
        let code = match reason {
            "Invalid" => 422,
            "Forbidden" => 403,
            "AlreadyExists" => 409,
            _ => 400,
        };
        expect(&object.to_string(), &answer, code, reason, message)?;
        if reason == "Invalid" {
            let status = answer.json()?;
            let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
            let whole = causes.iter().all(|cause| cause["reason"].is_string() && cause["field"].is_string());
            ensure!(!causes.is_empty() && whole, "causes: {status}");
        }
    }
    Ok(())
}

pub(crate) fn immutable_fields(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "immutable")?;
    space.apply(
        r#"
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeSelector: {never: here}, containers: [{name: c, image: "busybox:1"}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, immutable: true, data: {a: b}}
---
{apiVersion: v1, kind: Secret, metadata: {name: a}, type: Opaque}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: 0, selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: "busybox:1"}]}}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: b}}
"#,
    )?;
    for (object, patch, message) in [
        (
            "pod/a",
            r#"{"spec":{"containers":[{"name":"c","command":["x"]}]}}"#,
            "pod updates may not change fields other than",
        ),
        (
            "pod/a",
            r#"{"metadata":{"uid":"other"}}"#,
            "Precondition failed: UID in precondition: other, UID in object meta: ",
        ),
        (
            "service/a",
            r#"{"spec":{"clusterIP":"10.43.9.9"}}"#,
            "spec.clusterIPs[0]: Invalid value: [\"10.43.9.9\"]: may not change once set",
        ),
        ("configmap/a", r#"{"data":{"a":"c"}}"#, "field is immutable when `immutable` is set"),
        ("secret/a", r#"{"type":"other"}"#, "type: Invalid value: \"other\": field is immutable"),
        ("deployment/a", r#"{"spec":{"selector":{"matchLabels":{"a":"c"}}}}"#, "field is immutable"),
        ("rolebinding/a", r#"{"roleRef":{"name":"c"}}"#, "cannot change roleRef"),
    ] {
        let refused = space.refused(&["patch", object, "--patch", patch])?;
        ensure!(refused.contains(message), "{object} {patch}: {refused}");
        ensure!(!refused.contains("InternalError"), "{refused}");
    }
    Ok(())
}
