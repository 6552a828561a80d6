//! Who may use the node's port: clients that the cluster's authority signed, and of these whoever the API server allows
//! (`authorization.mode: Webhook`, <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/>).

use std::sync::Arc;

use async_trait::async_trait;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Peer, Refusal};

/// Group that may do everything, without asking.
const MASTERS: &str = "system:masters";

/// Decides about clients.
#[derive(Clone)]
pub struct Access(Arc<dyn Decide>);

#[async_trait]
trait Decide: Send + Sync {
    /// Whether the API server lets the user do `verb` on `nodes/SUBRESOURCE` of this node.
    async fn allows(&self, user: &User, verb: &str, subresource: &str) -> Result<bool, String>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    groups: Vec<String>,
}

struct Webhook {
    client: kube::Client,
    node: String,
}

impl Access {
    /// Asks the API server as this node.
    #[must_use]
    pub fn new(client: kube::Client, node: String) -> Self {
        Self(Arc::new(Webhook { client, node }))
    }
}

#[async_trait]
impl Decide for Webhook {
    async fn allows(&self, user: &User, verb: &str, subresource: &str) -> Result<bool, String> {
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            groups: Some(user.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(self.node.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let answer: SubjectAccessReview = answer.map_err(|error| error.to_string())?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// Lets a request pass, or answers 401 or 403.
pub(super) async fn check(
    State(access): State<Access>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let Some(user) = peer.and_then(|der| user(&der)) else {
        return Refusal(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()).into_response();
    };
    let (verb, subresource) = attributes(request.method(), request.uri().path());
    let allowed = user.groups.iter().any(|group| group == MASTERS)
        || match access.0.allows(&user, verb, subresource).await {
            Ok(allowed) => allowed,
            Err(error) => return Refusal::internal(format!("Authorization error ({error})")).into_response(),
        };
    if allowed {
        return next.run(request).await;
    }
    let User { name, .. } = user;
    Refusal(
        StatusCode::FORBIDDEN,
        format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])"),
    )
    .into_response()
}

/// Subject of a certificate as a user: the common name, and the organizations as groups.
fn user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(ToOwned::to_owned);
    let groups = groups.chain(["system:authenticated".to_owned()]).collect();
    Some(User { name, groups })
}

/// Verb and subresource of `nodes` that a request needs, as upstream's `NodeRequestAttributesGetter` says.
fn attributes(method: &Method, path: &str) -> (&'static str, &'static str) {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    (verb, if first == "healthz" { "healthz" } else { "proxy" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use knarr_pki::{ClusterPki, Names};
    use tower::ServiceExt;

    /// Allows one user to read.
    struct Only(&'static str);

    #[async_trait]
    impl Decide for Only {
        async fn allows(&self, user: &User, verb: &str, _subresource: &str) -> Result<bool, String> {
            if user.name == "broken" { Err("no answer".to_owned()) } else { Ok(user.name == self.0 && verb == "get") }
        }
    }

    async fn ask(peer: Option<Vec<u8>>, method: Method) -> (StatusCode, String) {
        let router: Router = Router::new()
            .route("/containerLogs", axum::routing::any(|| async { "lines" }))
            .route("/healthz", get(|| async { "ok" }))
            .layer(axum::middleware::from_fn_with_state(Access(Arc::new(Only("system:node:edge-1"))), check))
            .layer(Extension(Peer(peer.map(Into::into))));
        let request = Request::builder().method(method).uri("/containerLogs").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_known_and_allowed_clients_pass() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names {
            node: "edge-1".into(),
            addresses: vec!["192.0.2.10".parse().unwrap()],
            service: vec!["10.43.0.1".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            extra: Vec::new(),
        };
        let pki = ClusterPki::open(directory.path(), &names).unwrap();
        let der = |leaf: &knarr_pki::Rotating| leaf.current().certified_key().cert[0].to_vec();
        assert_eq!(ask(None, Method::GET).await, (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()));
        assert_eq!(ask(Some(der(&pki.apiserver_kubelet_client)), Method::POST).await.0, StatusCode::OK);
        assert_eq!(ask(Some(der(&pki.kubelet_client)), Method::GET).await.0, StatusCode::OK);
        let (status, text) = ask(Some(der(&pki.kubelet_client)), Method::POST).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(text, "Forbidden (user=system:node:edge-1, verb=create, resource=nodes, subresource(s)=[proxy])");
        assert_eq!(ask(Some(der(&pki.dataplane)), Method::GET).await.0, StatusCode::FORBIDDEN);
        assert_eq!(ask(Some(vec![1, 2, 3]), Method::GET).await.0, StatusCode::UNAUTHORIZED);
    }
}
