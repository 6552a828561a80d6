//! What others need to verify service account tokens themselves (OpenID Connect Discovery):
//! <https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery>.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use knarr_pki::TokenKeys;
use serde_json::json;

/// `/openid/v1/jwks`.
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// `/.well-known/openid-configuration`.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

const CACHE: &str = "public, max-age=3600";

/// The issuer's document. `address` is where the API server is reached, as `host:port`.
#[must_use]
pub fn configuration(issuer: &str, address: &str) -> Response {
    let document = json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{address}{KEYS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, CACHE)], document.to_string()).into_response()
}

/// The public keys.
#[must_use]
pub fn keys(keys: &TokenKeys) -> Response {
    let document = json!(keys.jwks()).to_string();
    ([(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, CACHE)], document).into_response()
}
