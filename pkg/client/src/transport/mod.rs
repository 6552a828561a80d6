//! How a `kube::Client` reaches the API server: in the same process without a socket, or over TLS.

mod kubeconfig;
mod tls;

pub use kubeconfig::{Error, kubeconfig};

use axum::Router;
use knarr_api::user::{InProcess, UserInfo};
use tower::Service;

/// A client that calls `router` directly as `user`. Bodies pass through without copying.
///
/// The server trusts the request extension [`InProcess`], which cannot come over the wire.
///
/// Must be called within a Tokio runtime.
#[must_use]
pub fn in_process(router: Router, user: UserInfo) -> kube::Client {
    let identity = InProcess(user);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(identity.clone());
        router.clone().call(request)
    });
    kube::Client::new(service, "default")
}

#[cfg(test)]
mod over_tls;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Extension;
    use axum::routing::post;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::PostParams;

    #[tokio::test]
    async fn the_router_sees_the_user_and_the_body() {
        async fn create(Extension(InProcess(user)): Extension<InProcess>, body: String) -> String {
            let mut object: ConfigMap = serde_json::from_str(&body).unwrap();
            object.data = Some([("creator".to_owned(), user.username)].into());
            serde_json::to_string(&object).unwrap()
        }
        let router = Router::new().route("/api/v1/namespaces/default/configmaps", post(create));
        let client = in_process(router, UserInfo::node("edge-1"));
        let config_map: ConfigMap = serde_json::from_value(serde_json::json!({"metadata": {"name": "a"}})).unwrap();
        let created = Api::default_namespaced(client).create(&PostParams::default(), &config_map).await.unwrap();
        assert_eq!(created.metadata.name.as_deref(), Some("a"));
        assert_eq!(created.data.unwrap()["creator"], "system:node:edge-1");
    }
}
