use http_body_util::BodyExt;
use knarr_api::user::UserInfo;
use serde_json::{Value, json};

use super::*;
use crate::bootstrap::fixture::{ISSUER, Server, pki, settings};
use crate::request::{RequestContext, RequestInfo};

struct Bench {
    server: Server,
    tokens: Arc<ServiceAccountTokens>,
    request: TokenRequest,
    _directories: [tempfile::TempDir; 2],
}

impl Bench {
    async fn new() -> Self {
        let (store, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pki = pki(keys.path());
        let mut server = Server::start(store.path(), &pki).await;
        server.bootstrap(&pki, &settings()).await;
        let tokens = Arc::clone(&server.tokens);
        let request = TokenRequest { tokens: Arc::clone(&tokens), pki };
        let bench = Self { server, tokens, request, _directories: [store, keys] };
        bench.create("serviceaccounts", json!({"metadata": {"name": "bot", "namespace": "default"}})).await;
        bench
    }

    async fn create(&self, plural: &str, object: Value) -> Object {
        let Value::Object(object) = object else { unreachable!() };
        let resource = self.server.registry.resource("", plural).unwrap();
        let cx = RequestContext::internal(UserInfo::new("admin", &["system:masters"]));
        let namespace = object.namespace().to_owned();
        let write = Write { cx: &cx, resource: &resource, namespace: &namespace, name: "", subresource: None };
        let stored = self.server.registry.create(&write, object).await.unwrap();
        stored.object(&resource.stored).unwrap()
    }

    /// Asks for a token of `default/bot` as `user`.
    async fn ask(&self, user: UserInfo, spec: Value) -> Result<Value> {
        let resource = self.server.registry.resource("", "serviceaccounts").unwrap();
        let mut cx = RequestContext::internal(user);
        let uri = "/api/v1/namespaces/default/serviceaccounts/bot/token".parse().unwrap();
        cx.info = RequestInfo::new(&http::Method::POST, &uri);
        let call = Call { cx: &cx, registry: &self.server.registry, resource: &resource };
        let request = Request::builder().header("content-type", "application/json");
        let request = request.body(Body::from(json!({"spec": spec}).to_string())).unwrap();
        let response = self.request.serve(call, request).await?;
        assert_eq!(response.status(), StatusCode::CREATED);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    async fn user_of(&self, answer: &Value, audience: &str) -> std::result::Result<UserInfo, String> {
        let token = answer["status"]["token"].as_str().unwrap();
        let now = jiff::Timestamp::now().as_second();
        self.tokens.check(token, &[audience.into()], now).await.map(|verified| verified.unwrap().user)
    }
}

fn admin() -> UserInfo {
    UserInfo::new("admin", &["system:masters"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_what_was_asked_for() {
    let bench = Bench::new().await;
    let plain = bench.ask(admin(), json!({})).await.unwrap();
    assert_eq!(plain["spec"]["audiences"], json!([ISSUER]));
    assert_eq!(plain["spec"]["expirationSeconds"], 3600);
    let user = bench.user_of(&plain, ISSUER).await.unwrap();
    assert_eq!(user.username, "system:serviceaccount:default:bot");
    let vault = bench.ask(admin(), json!({"audiences": ["vault"], "expirationSeconds": 600})).await.unwrap();
    assert!(bench.user_of(&vault, "vault").await.is_ok());
    assert!(bench.user_of(&vault, ISSUER).await.unwrap_err().contains("is invalid for the target audiences"));
    bench.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_token_ends_with_the_pod_and_is_for_its_node() {
    let bench = Bench::new().await;
    bench.create("nodes", json!({"metadata": {"name": "n1"}})).await;
    let pod = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"nodeName": "n1", "serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]},
    });
    let pod = bench.create("pods", pod).await;
    let bound = |uid: &str| json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid}});
    let mut automounted = bound(pod.uid());
    automounted["expirationSeconds"] = 3607.into();
    let answer = bench.ask(UserInfo::node("n1"), automounted).await.unwrap();
    let user = bench.user_of(&answer, ISSUER).await.unwrap();
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n1"]);
    let text =
        "serviceaccounts \"bot\" is forbidden: node requested token bound to a pod scheduled on a different node";
    assert_eq!(bench.ask(UserInfo::node("n2"), bound(pod.uid())).await.unwrap_err().message, text);
    let stale = bench.ask(admin(), bound("other")).await.unwrap_err();
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    bench.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_upstreams_texts() {
    let bench = Bench::new().await;
    let short = bench.ask(admin(), json!({"expirationSeconds": 60})).await.unwrap_err();
    assert_eq!(
        short.message,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a \
         duration less than 10 minutes"
    );
    let other = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}});
    let text = "cannot bind token to object of type /v1, Kind=ConfigMap";
    assert_eq!(bench.ask(admin(), other).await.unwrap_err().message, text);
    let missing = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "x"}});
    assert_eq!(bench.ask(admin(), missing).await.unwrap_err().message, "secrets \"x\" not found");
    bench.server.stop().await;
}
