//! Who may do what, and how much at once.

use anyhow::{Context, Result, ensure};
use knarr_tests::api::Api;
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;
use serde_json::json;

use crate::malformed::expect;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

pub(crate) fn credentials_and_impersonation(lab: &Lab) -> Result<()> {
    let (admin, nobody) = (Api::admin(lab)?, Api::anonymous(lab)?);
    for (path, status) in
        [("/version", 200), ("/readyz", 200), ("/api/v1/pods", 403), ("/apis", 403), ("/metrics", 403)]
    {
        let answer = nobody.request("GET", path, &[], b"")?;
        ensure!(answer.status == status, "anonymous {path}: {answer}");
    }
    for path in ["/healthz", "/livez", "/readyz?verbose", "/metrics", "/version", "/api", "/apis"] {
        let answer = admin.request("GET", path, &[], b"")?;
        ensure!(answer.status == 200, "{path}: {answer}");
    }
    let message = r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope"#;
    let answer = nobody.request("GET", "/api/v1/pods", &[], b"")?;
    ensure!(answer.json()?["message"] == message, "{answer}");
    for token in ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let answer = Api::with_token(lab, token)?.request("GET", "/version", &[], b"")?;
        ensure!(answer.status == 401 && answer.json()?["reason"] == "Unauthorized", "token {token}: {answer}");
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let review = |headers: &[(&str, &str)]| {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        admin.request("POST", REVIEWS, &headers, body.as_bytes())
    };
    let user = review(&[
        ("Impersonate-User", "anna"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-Why", "test"),
    ])?;
    let info = user.json()?["status"]["userInfo"].clone();
    ensure!(info["username"] == "anna" && info["groups"] == json!(["a", "b", "system:authenticated"]), "{user}");
    ensure!(info["extra"] == json!({"why": ["test"]}), "{user}");
    let robot = review(&[("Impersonate-User", "system:serviceaccount:default:robot")])?;
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    ensure!(robot.json()?["status"]["userInfo"]["groups"] == groups, "{robot}");
    let answer = review(&[("Impersonate-Group", "a")])?;
    expect("a group without a user", &answer, 400, "BadRequest", "without impersonating a user")?;
    let answer = admin.request("GET", "/api/v1/pods", &[("Impersonate-User", "anna")], b"")?;
    ensure!(answer.status == 403, "{answer}");
    // anna, who may nothing, cannot be somebody else through a token of her own.
    let space = Space::new(lab, "imitation")?;
    space.kubectl(&["create", "serviceaccount", "robot"])?;
    let token = space.kubectl(&["create", "token", "robot"])?;
    let robot = Api::with_token(lab, token.trim())?;
    let answer = robot.request(
        "GET",
        "/api/v1/pods",
        &[("Impersonate-User", "admin"), ("Impersonate-Group", "system:masters")],
        b"",
    )?;
    let message = r#"users "admin" is forbidden: User "system:serviceaccount:imitation:robot" cannot impersonate resource "users" in API group "" at the cluster scope"#;
    ensure!(answer.status == 403 && answer.json()?["message"] == message, "{answer}");
    Ok(())
}

pub(crate) fn escalation(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "escalation")?;
    space.kubectl(&["create", "rolebinding", "anna", "--clusterrole=admin", "--user=anna"])?;
    until("the binding counts", POD, || {
        space.kubectl(&["get", "roles", "--as=anna"]).map_err(|error| format!("{error:#}"))
    })?;
    let message = "attempting to grant RBAC permissions not currently held";
    for arguments in [
        &["create", "role", "more", "--verb=get", "--resource=nodes", "--as=anna"][..],
        &["create", "rolebinding", "more", "--clusterrole=cluster-admin", "--user=anna", "--as=anna"],
    ] {
        let refused = space.refused(arguments)?;
        ensure!(refused.contains(message), "{arguments:?}: {refused}");
    }
    space.kubectl(&["create", "role", "less", "--verb=get", "--resource=pods", "--as=anna"])?;
    space.kubectl(&["create", "rolebinding", "less", "--role=less", "--user=eve", "--as=anna"])?;

    // A node sees only what its own pods need, and changes only itself.
    let node = lab.kubectl_output(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    space.kubectl(&["create", "secret", "generic", "private"])?;
    let own = format!("--as=system:node:{node}");
    for (arguments, who) in [
        (&["get", "secret", "private"][..], own.as_str()),
        (&["get", "secrets"], &own),
        (&["label", "node", &node, "a=b"], "--as=system:node:other"),
        (&["label", "node", &node, "node-restriction.kubernetes.io/a=b"], &own),
        (&["delete", "node", &node], &own),
    ] {
        let refused = space.refused(&[arguments, &[who, "--as-group=system:nodes"]].concat())?;
        ensure!(refused.contains("orbidden") || refused.contains("is not allowed"), "{arguments:?} {who}: {refused}");
    }
    space.kubectl(&["label", "node", &node, "fine=yes", &own, "--as-group=system:nodes"]).map(drop)
}

pub(crate) fn bound_tokens(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "tokens")?;
    space.kubectl(&["create", "serviceaccount", "robot"])?;
    space.kubectl(&["create", "secret", "generic", "anchor"])?;
    let token = |more: &[&str]| space.kubectl(&[&["create", "token", "robot"], more].concat());
    let free = token(&[])?;
    let bound = token(&["--bound-object-kind=Secret", "--bound-object-name=anchor"])?;
    let elsewhere = token(&["--audience=elsewhere"])?;
    let status = |token: &str| {
        Ok::<_, anyhow::Error>(Api::with_token(lab, token.trim())?.request("GET", "/version", &[], b"")?.status)
    };
    let ends = |token: &str| {
        until("the token ends", POD, || match status(token) {
            Ok(401) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    };
    ensure!((status(&free)?, status(&bound)?, status(&elsewhere)?) == (200, 200, 401), "an audience counts");
    space.kubectl(&["delete", "secret", "anchor"])?;
    ends(&bound)?;
    ensure!(status(&free)? == 200, "the other one goes on");
    space.kubectl(&["delete", "serviceaccount", "robot"])?;
    ends(&free)?;
    space.kubectl(&["create", "serviceaccount", "robot"])?;
    ensure!(status(&free)? == 401, "another account of the same name");
    ensure!(status(&token(&[])?)? == 200);
    Ok(())
}

pub(crate) fn reviews(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "reviews")?;
    let api = Api::admin(lab)?;
    space.kubectl(&["create", "rolebinding", "anna", "--clusterrole=view", "--user=anna"])?;
    let authz = "/apis/authorization.k8s.io/v1";
    let ask = |namespace: &str, resource: &str| -> Result<bool> {
        let attributes = json!({"namespace": namespace, "verb": "get", "resource": resource});
        let body = json!({"spec": {"user": "anna", "resourceAttributes": attributes}});
        let answer = api.post(&format!("{authz}/subjectaccessreviews"), &body)?;
        answer.json()?["status"]["allowed"].as_bool().with_context(|| answer.to_string())
    };
    until("the binding counts", POD, || match ask("reviews", "pods") {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    ensure!(!ask("reviews", "secrets")? && !ask("default", "pods")?);
    let body = json!({"metadata": {"namespace": "reviews"}, "spec": {"user": "anna", "resourceAttributes": {"namespace": "reviews", "verb": "get", "resource": "pods"}}});
    let answer = api.post(&format!("{authz}/namespaces/reviews/localsubjectaccessreviews"), &body)?;
    ensure!(answer.status == 201 && answer.json()?["status"]["allowed"] == true, "{answer}");
    let answer = api.post(&format!("{authz}/subjectaccessreviews"), &json!({"spec": {}}))?;
    ensure!(answer.status == 422, "{answer}");

    let as_anna = [("Content-Type", "application/json"), ("Impersonate-User", "anna")];
    for (resource, allowed) in [("pods", true), ("secrets", false)] {
        let attributes = json!({"namespace": "reviews", "verb": "get", "resource": resource});
        let body = json!({"spec": {"resourceAttributes": attributes}}).to_string();
        let answer = api.request("POST", &format!("{authz}/selfsubjectaccessreviews"), &as_anna, body.as_bytes())?;
        ensure!(answer.status == 201 && answer.json()?["status"]["allowed"] == allowed, "{resource}: {answer}");
    }
    let body = json!({"spec": {"namespace": "reviews"}}).to_string();
    let answer = api.request("POST", &format!("{authz}/selfsubjectrulesreviews"), &as_anna, body.as_bytes())?;
    let status = answer.json()?["status"].clone();
    let rules = status["resourceRules"].as_array().context("resourceRules")?;
    let names = |what: &str| {
        rules.iter().any(|rule| rule["resources"].as_array().is_some_and(|all| all.contains(&json!(what))))
    };
    ensure!(names("pods") && !names("secrets") && status["incomplete"] == false, "{answer}");

    let token = lab.kubectl_output(&["create", "token", "default"])?;
    for (token, valid) in [(token.trim(), true), ("nonsense", false)] {
        let answer = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": {"token": token}}))?;
        let status = answer.json()?["status"].clone();
        ensure!(answer.status == 201 && (status["authenticated"] == true) == valid, "{answer}");
        ensure!(!valid || status["user"]["username"] == "system:serviceaccount:default:default", "{answer}");
    }
    Ok(())
}

pub(crate) fn too_many_requests(lab: &Lab) -> Result<()> {
    // Writes whose bodies do not end stay in flight; upstream's limit for writes is 200, and system:masters has none.
    const LIMIT: usize = 200;
    let api = Api::admin(lab)?;
    let space = Space::new(lab, "crowd")?;
    space.kubectl(&["create", "rolebinding", "many", "--clusterrole=edit", "--user=many"])?;
    until("the binding counts", POD, || {
        space.kubectl(&["get", "pods", "--as=many"]).map_err(|error| format!("{error:#}"))
    })?;
    let path = "/api/v1/namespaces/crowd/configmaps";
    let headers = [("Content-Type", "application/json"), ("Impersonate-User", "many")];
    let mut held = Vec::new();
    for _ in 0..LIMIT + 20 {
        let mut connection = api.connect()?;
        connection.send_part("POST", path, &headers, 100, b"{")?;
        held.push(connection);
    }
    let answer = until("there is too much in flight", POD, || {
        let answer = api.request("POST", path, &headers, b"{}").map_err(|error| format!("{error:#}"))?;
        if answer.status == 429 { Ok(answer) } else { Err(answer.to_string()) }
    })?;
    ensure!(answer.header("Retry-After").is_some(), "{:?}", answer.headers);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(text.to_lowercase().contains("too many requests"), "{text}");
    let answer = api.request("GET", "/api/v1/namespaces/default", &[], b"")?;
    ensure!(answer.status == 200, "reads go on: {answer}");
    drop(held);
    until("writes go on", POD, || {
        let answer = api.request("POST", path, &headers, b"{}").map_err(|error| format!("{error:#}"))?;
        if answer.status == 422 { Ok(()) } else { Err(answer.to_string()) }
    })
}
