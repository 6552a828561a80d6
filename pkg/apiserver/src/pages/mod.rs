//! What is served beside resources: discovery, OpenAPI, health, figures, version.

mod discovery;
mod health;
mod openapi;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode, header};
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_api::user::UserInfo;
use serde_json::Value;

pub(crate) use openapi::Documents;

use crate::metrics;
use crate::request::{Query, RequestContext};
use crate::serve::media::Media;
use crate::serve::{answer, encode};
use crate::server::Server;

/// Pages that others bring, by path.
#[derive(Clone, Default)]
pub struct Pages(BTreeMap<&'static str, Page>);

#[derive(Clone)]
enum Page {
    /// Is read.
    Document(Arc<dyn Fn() -> Response + Send + Sync>),
    /// Is posted to.
    Action(Arc<dyn Fn() -> BoxFuture<'static, Result<Value>> + Send + Sync>),
    /// Is posted to, with something.
    Order(Arc<dyn Fn(Order) -> BoxFuture<'static, Result<Response>> + Send + Sync>),
}

/// What was posted to a page.
pub struct Order {
    /// By whom.
    pub user: UserInfo,
    /// The body, [`MAX_ORDER`] bytes at most.
    pub body: Bytes,
}

impl std::fmt::Debug for Order {
    /// Without the body, which may hold a secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Order").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Longest body of an [`Order`].
pub const MAX_ORDER: usize = 64 * 1024;

impl std::fmt::Debug for Pages {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl Pages {
    /// Adds a page.
    #[must_use]
    pub fn with(mut self, path: &'static str, page: impl Fn() -> Response + Send + Sync + 'static) -> Self {
        self.0.insert(path, Page::Document(Arc::new(page)));
        self
    }

    /// Adds something that is done when who may posts to its path, with an answer in JSON.
    #[must_use]
    pub fn with_action<F: Future<Output = Result<Value>> + Send + 'static>(
        mut self,
        path: &'static str,
        action: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(path, Page::Action(Arc::new(move || action().boxed())));
        self
    }

    /// Adds something that is done with what who may posts to its path, and answers as it likes: the answer may last.
    #[must_use]
    pub fn with_order<F: Future<Output = Result<Response>> + Send + 'static>(
        mut self,
        path: &'static str,
        order: impl Fn(Order) -> F + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(path, Page::Order(Arc::new(move |what| order(what).boxed())));
        self
    }
}

/// The first segments of the paths that only this module serves.
const PAGES: [&str; 8] = ["api", "apis", "healthz", "livez", "metrics", "openapi", "readyz", "version"];

impl Server {
    /// Answers a request for something that is no resource.
    pub(crate) async fn page(&self, cx: &RequestContext, request: Request<Body>) -> Result<Response> {
        let path = cx.info.path.trim_end_matches('/');
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match self.pages.0.get(path) {
            Some(Page::Document(page)) if is_read => return Ok(page()),
            Some(Page::Action(action)) if request.method() == Method::POST => {
                // Apart from the request, whose body is not to be shared between threads.
                let acting = action();
                let done = acting.await?;
                return self.json(&request, &done);
            }
            Some(Page::Order(order)) if request.method() == Method::POST => {
                let body = axum::body::to_bytes(request.into_body(), MAX_ORDER).await;
                let body = body.map_err(|_| Status::too_large(MAX_ORDER))?;
                return order(Order { user: cx.user.clone(), body }).await;
            }
            None if is_read || !PAGES.contains(&parts.first().copied().unwrap_or_default()) => {}
            _ => return Err(Status::method_not_allowed()),
        }
        match parts.as_slice() {
            [] => self.index(&request),
            [check @ ("healthz" | "livez" | "readyz"), rest @ ..] => self.health(check, rest, &request),
            ["metrics"] => Ok(metrics::page(self).map_err(Status::internal)?.into_response()),
            ["version"] => self.json(&request, &version::info()),
            ["api" | "apis", ..] => self.discovery(&parts, &request),
            ["openapi", rest @ ..] => self.openapi(rest, request).await,
            _ => Err(Status::no_such_path()),
        }
    }

    /// `/`: where to go from here.
    fn index(&self, request: &Request<Body>) -> Result<Response> {
        let mut paths: Vec<String> = [
            "/api",
            "/api/v1",
            "/apis",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(Into::into)
        .into();
        for resource in self.api.registry.resources().iter().filter(|resource| !resource.kind.group.is_empty()) {
            let kind = &resource.kind;
            paths.push(format!("/apis/{}", kind.group));
            paths.extend(kind.versions.iter().map(|version| format!("/apis/{}/{}", kind.group, version.name)));
        }
        paths.extend(self.pages.0.keys().map(|path| (*path).to_owned()));
        paths.sort();
        paths.dedup();
        self.json(request, &serde_json::json!({"paths": paths}))
    }

    fn json(&self, request: &Request<Body>, value: &impl serde::Serialize) -> Result<Response> {
        let query = Query::new(request.uri().query().unwrap_or_default());
        let media = Media::accepted(request.headers(), query.get("pretty").as_deref())?;
        Ok(answer(StatusCode::OK, media.format, encode::render(value, media)?))
    }
}

/// An answer whose content has an `ETag`: 304 when the client has it already.
fn with_etag(headers: &HeaderMap, mut response: Response, etag: &str) -> Response {
    let quoted = format!("\"{etag}\"");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == quoted) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
    }
    if let Ok(value) = quoted.parse() {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, http::HeaderValue::from_static("Accept"));
    response
}
