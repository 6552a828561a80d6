//! `/api`, `/apis` and what is below them but no resource.

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, header};
use knarr_api::status::Result;
use knarr_api::{Status, discovery};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::with_etag;
use crate::serve::encode;
use crate::serve::media::{Form, Format, Media};
use crate::server::Server;

impl Server {
    pub(super) fn discovery(&self, path: &[&str], request: &Request<Body>) -> Result<Response> {
        let resources = self.api.registry.resources();
        let kinds = resources.kinds();
        let legacy = path.first() == Some(&"api");
        let document = match path {
            ["api" | "apis"] => {
                if let Some(version) = aggregated_version(request) {
                    return aggregated(request, &discovery::aggregated(kinds, legacy, version), version);
                }
                Some(if legacy {
                    discovery::legacy_versions(&self.config.advertise_address)
                } else {
                    discovery::groups(kinds)
                })
            }
            ["api", version] => discovery::resources(kinds, "", version),
            ["apis", group] => discovery::group(kinds, group),
            ["apis", group, version] => discovery::resources(kinds, group, version),
            _ => None,
        };
        self.json(request, &document.ok_or_else(Status::no_such_path)?)
    }
}

/// The version of the aggregated form, when the client prefers that form.
fn aggregated_version(request: &Request<Body>) -> Option<&'static str> {
    let accept = request.headers().get(header::ACCEPT)?.to_str().ok()?;
    let ranges = accept.split(',').map(str::trim);
    for range in ranges {
        if !range.contains("as=APIGroupDiscoveryList") {
            // The old form is preferred to what follows.
            let plain = range.split(';').next().unwrap_or_default();
            if matches!(plain, "application/json" | "*/*" | "application/*") {
                return None;
            }
            continue;
        }
        let is_json = range.starts_with("application/json") && range.contains("g=apidiscovery.k8s.io");
        match range.split(';').find_map(|parameter| parameter.trim().strip_prefix("v=")) {
            Some("v2") if is_json => return Some("v2"),
            Some("v2beta1") if is_json => return Some("v2beta1"),
            _ => {}
        }
    }
    None
}

fn aggregated(request: &Request<Body>, document: &Value, version: &str) -> Result<Response> {
    let media = Media { format: Format::Json, form: Form::Full, pretty: false };
    let body = encode::render(document, media)?;
    let etag: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02X}")).collect();
    let mut response = crate::serve::answer(StatusCode::OK, Format::Json, body);
    let content_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().map_err(Status::internal)?);
    response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("public"));
    Ok(with_etag(request.headers(), response, &etag))
}
