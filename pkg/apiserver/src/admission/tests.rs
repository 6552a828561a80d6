//! What clients see of authentication, authorization and admission, through the whole server.

use knarr_api::user::UserInfo;
use serde_json::{Value, json};

use crate::bootstrap::fixture::{Server, Who, pki, settings};

struct Bench {
    server: Server,
    _directories: [tempfile::TempDir; 2],
}

impl Bench {
    /// A cluster with the namespace `a` and its default account.
    async fn new() -> Self {
        let (store, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pki = pki(keys.path());
        let mut server = Server::start(store.path(), &pki).await;
        server.bootstrap(&pki, &settings()).await;
        let bench = Self { server, _directories: [store, keys] };
        bench.made("/api/v1/namespaces", json!({"metadata": {"name": "a"}})).await;
        bench.made("/api/v1/namespaces/a/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
        bench
    }

    async fn made(&self, path: &str, object: Value) -> Value {
        let (code, body) = self.server.send(&admin(), "POST", path, Some(object)).await;
        assert_eq!(code, 201, "{body}");
        body
    }

    /// Waits until the authorizer has heard of a right.
    async fn until_allowed(&self, who: &Who, verb: &str, resource: &str) {
        let wish = json!({"verb": verb, "resource": resource, "namespace": "a"});
        let question = json!({"spec": {"resourceAttributes": wish}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let allowed = async {
            while self.server.send(who, "POST", path, Some(question.clone())).await.1["status"]["allowed"] != true {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, allowed).await.is_ok(), "may still not {verb} {resource}");
    }

    async fn message(&self, who: &Who, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let (code, body) = self.server.send(who, method, path, body).await;
        (code, body["message"].as_str().unwrap_or_default().to_owned())
    }
}

fn admin() -> Who {
    Who::User(UserInfo::new("admin", &["system:masters"]))
}

fn user(name: &str) -> Who {
    Who::User(UserInfo::new(name, &[]))
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// For what takes effect a moment after its acknowledgement.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

const PODS: &str = "/api/v1/namespaces/a/pods";

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_users_get_upstreams_answers() {
    let bench = Bench::new().await;
    let table = [
        (Who::Nobody, "GET", "/version", 200, ""),
        (
            Who::Nobody,
            "GET",
            "/api/v1/nodes",
            403,
            r#"nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (Who::Bearer("no.such.token".into()), "GET", "/version", 401, "Unauthorized"),
        (user("jane"), "GET", "/metrics", 403, r#"forbidden: User "jane" cannot get path "/metrics""#),
        (user("jane"), "GET", "/api", 200, ""),
        (
            admin(),
            "DELETE",
            "/api/v1/namespaces/kube-system",
            403,
            r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#,
        ),
        (
            Who::User(UserInfo::node("n1")),
            "GET",
            "/api/v1/namespaces/a/secrets/x",
            403,
            r#"secrets "x" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "a": no relationship found between node 'n1' and this object"#,
        ),
    ];
    for (who, method, path, code, message) in table {
        assert_eq!(bench.message(&who, method, path, None).await, (code, message.to_owned()), "{method} {path}");
    }
    bench.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_completed_or_refused() {
    let bench = Bench::new().await;
    let (_, made) = bench.server.send(&admin(), "POST", PODS, Some(pod("web"))).await;
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
    let volume = &made["spec"]["volumes"][0];
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
    let with = |field: &str, value: Value| {
        let mut pod = pod("x");
        pod["spec"][field] = value;
        pod
    };
    let table = [
        (
            with("serviceAccountName", json!("none")),
            "pods \"x\" is forbidden: error looking up service account a/none: serviceaccount \"none\" not found",
        ),
        (
            with("priorityClassName", json!("none")),
            "pods \"x\" is forbidden: no PriorityClass with name none was found",
        ),
        (
            with("runtimeClassName", json!("none")),
            "pods \"x\" is forbidden: pod rejected: RuntimeClass \"none\" not found",
        ),
    ];
    for (pod, message) in table {
        assert_eq!(bench.message(&admin(), "POST", PODS, Some(pod)).await, (403, message.to_owned()));
    }
    let nowhere = bench.message(&admin(), "POST", "/api/v1/namespaces/none/pods", Some(pod("x"))).await;
    assert_eq!(nowhere, (404, "namespaces \"none\" not found".to_owned()));
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}, "apiVersion": "v1", "kind": "Namespace"});
    let mut namespace = bench.server.send(&admin(), "GET", "/api/v1/namespaces/a", None).await.1;
    namespace["metadata"]["labels"] = label["metadata"]["labels"].clone();
    assert_eq!(bench.server.send(&admin(), "PUT", "/api/v1/namespaces/a", Some(namespace)).await.0, 200);
    let privileged = bench.message(&admin(), "POST", PODS, Some(with("hostNetwork", json!(true)))).await;
    let text = "pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    assert_eq!(privileged, (403, text.to_owned()));
    bench.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_not_given_away_by_those_who_lack_them() {
    let bench = Bench::new().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let roles = format!("{rbac}/namespaces/a/roles");
    let bindings = format!("{rbac}/namespaces/a/rolebindings");
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]);
    bench.made(&roles, json!({"metadata": {"name": "some"}, "rules": rules})).await;
    let bind = |name: &str, kind: &str, role: &str| {
        json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
        })
    };
    bench.made(&bindings, bind("some", "Role", "some")).await;
    let jane = user("jane");
    bench.until_allowed(&jane, "get", "pods").await;
    let role = |verbs: &[&str]| json!({"metadata": {"name": "mine"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]});
    let refused = bench.message(&jane, "POST", &roles, Some(role(&["get", "delete"]))).await;
    let head = "is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not \
                currently held:\n";
    let expected = format!(
        "roles.rbac.authorization.k8s.io \"mine\" {head}{{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}}"
    );
    assert_eq!(refused, (403, expected));
    assert_eq!(bench.message(&jane, "POST", &roles, Some(role(&["get"]))).await.0, 201);
    let (code, message) =
        bench.message(&jane, "POST", &bindings, Some(bind("up", "ClusterRole", "cluster-admin"))).await;
    assert_eq!(code, 403);
    assert!(message.contains("{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}"), "{message}");
    assert_eq!(bench.message(&jane, "POST", &bindings, Some(bind("again", "Role", "mine"))).await.0, 201);
    bench.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_uses_its_token_until_its_pod_is_gone() {
    let bench = Bench::new().await;
    let made = bench.made(PODS, pod("web")).await;
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": made["metadata"]["uid"]});
    let wanted = json!({"spec": {"boundObjectRef": reference}});
    let answer = bench.made("/api/v1/namespaces/a/serviceaccounts/default/token", wanted).await;
    let bearer = Who::Bearer(answer["status"]["token"].as_str().unwrap().into());
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, me) = bench.server.send(&bearer, "POST", whoami, Some(json!({}))).await;
    assert_eq!((code, &me["status"]["userInfo"]["username"]), (201, &json!("system:serviceaccount:a:default")));
    assert_eq!(bench.server.send(&bearer, "GET", "/openid/v1/jwks", None).await.0, 200);
    assert_eq!(bench.server.send(&bearer, "GET", PODS, None).await.0, 403);
    let gone = format!("{PODS}/web?gracePeriodSeconds=0");
    assert_eq!(bench.server.send(&admin(), "DELETE", &gone, None).await.0, 200);
    assert_eq!(bench.server.send(&bearer, "POST", whoami, Some(json!({}))).await.0, 401);
    bench.server.stop().await;
}
