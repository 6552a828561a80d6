//! What others need to verify service account tokens themselves (OpenID Connect Discovery):
//! <https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery>.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use knarr_pki::ClusterPki;
use serde_json::json;

use crate::pages::Pages;

const KEYS_PATH: &str = "/openid/v1/jwks";
const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

const CACHE: &str = "public, max-age=3600";

/// Adds both documents. `address` is where the API server is reached, as `host:port`.
#[must_use]
pub fn add(pages: Pages, pki: Arc<ClusterPki>, issuer: &str, address: &str) -> Pages {
    let configuration = json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{address}{KEYS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    let configuration = configuration.to_string();
    pages
        .with(CONFIGURATION_PATH, move || document("application/json", configuration.clone()))
        .with(KEYS_PATH, move || document("application/jwk-set+json", json!(pki.tokens.jwks()).to_string()))
}

fn document(content_type: &'static str, body: String) -> Response {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, CACHE)], body).into_response()
}
