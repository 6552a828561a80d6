//! The filter chain: what every request goes through, in upstream's order (`DefaultBuildHandlerChain` of
//! `k8s.io/apiserver/pkg/server/config.go`).

mod compress;
mod inflight;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_api::user::UserInfo;

pub(crate) use inflight::InFlight;

use crate::authn::impersonate;
use crate::authz::{Attributes, forbidden};
use crate::request::{Query, RequestContext, RequestInfo, Warnings};
use crate::serve::answer_status;
use crate::serve::media::{Form, Format, Media};
use crate::server::Server;

const AUDIT_ID: &str = "audit-id";

/// Answers a request. This is the whole chain, outermost first: panic guard, request info, deadline, authentication,
/// impersonation, requests in flight, authorization, the handler; then compression, headers and figures of the answer.
pub(crate) async fn answer(server: Arc<Server>, request: Request<Body>) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let info = RequestInfo::new(&parts.method, &parts.uri);
    let (audit_id, warnings) = (audit_id(&parts.headers), Warnings::default());
    let media = error_media(&parts.headers);
    // A stream (a log that is followed) would be held back until the encoder has a block.
    let gzip = accepts_gzip(&parts.headers) && matches!(&*info.verb, "get" | "list") && !info.is_long_running();

    let deadline = deadline(&server, &info, &parts);
    let within_deadline = deadline.as_ref().copied().unwrap_or_default();
    let chain = async {
        deadline?;
        let user = authenticate(&server, &mut parts).await?;
        let user = impersonated(&server, user, &mut parts).await?;
        let _slot = server.inflight.enter(&info, &user)?;
        authorize(&server, &user, &info).await?;
        let options = Query::new(parts.uri.query().unwrap_or_default()).write_options(user_agent(&parts.headers))?;
        let (info, warnings, audit_id) = (info.clone(), warnings.clone(), audit_id.clone());
        let cx = RequestContext { user, info, options, warnings, audit_id };
        server.dispatch(&cx, Request::from_parts(parts, body)).await
    };
    let guarded = AssertUnwindSafe(within(within_deadline, chain)).catch_unwind();
    let answered = guarded.await.unwrap_or_else(|_| Err(panicked(&info)));

    let mut response = answered.unwrap_or_else(|status| answer_status(&status, media));
    if gzip && response.status() == StatusCode::OK && !response.headers().contains_key(header::CONTENT_ENCODING) {
        response = compress::gzip(response);
    }
    add_headers(response.headers_mut(), &audit_id, &warnings);
    server.metrics.observe(&info, response.status(), started.elapsed());
    let code = response.status().as_u16();
    tracing::debug!(verb = %info.verb, path = %info.path, code, took = ?started.elapsed(), "answered");
    response
}

/// Requests that may last have no deadline; all others that of the server, or an earlier one that they name.
fn deadline(server: &Server, info: &RequestInfo, parts: &Parts) -> Result<Option<Duration>> {
    if info.is_long_running() {
        return Ok(None);
    }
    let most = server.config.request_timeout;
    let query = Query::new(parts.uri.query().unwrap_or_default());
    let Some(text) = query.get("timeout").filter(|text| !text.is_empty()) else { return Ok(Some(most)) };
    let asked = duration(&text).ok_or_else(|| {
        let why = format!("time: invalid duration {text:?}");
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    Ok(Some(if asked.is_zero() { most } else { asked.min(most) }))
}

async fn within(deadline: Option<Duration>, work: impl Future<Output = Result<Response>>) -> Result<Response> {
    let Some(deadline) = deadline else { return work.await };
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(Status::timeout("Timeout: request did not complete within the allotted timeout")))
}

/// Units of Go's durations, in seconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// A duration as Go writes it: `1m30s`, `500ms`, `1.5h`. A negative one is none at all.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let (number, unit) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, next) = unit.split_at(end);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * size;
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    // Go's durations end at 292 years.
    let seconds = Some(seconds).filter(|seconds| *seconds < i64::MAX as f64 / 1e9)?;
    Some(if text.starts_with('-') { Duration::ZERO } else { Duration::from_secs_f64(seconds) })
}

async fn authenticate(server: &Server, parts: &mut Parts) -> Result<UserInfo> {
    let user = server.access.authenticator.authenticate(parts).await?.ok_or_else(Status::unauthorized)?;
    // Nothing behind this point may see or pass on the credentials.
    parts.headers.remove(header::AUTHORIZATION);
    Ok(user)
}

async fn impersonated(server: &Server, user: UserInfo, parts: &mut Parts) -> Result<UserInfo> {
    let other = impersonate(&*server.access.authorizer, &user, &mut parts.headers).await?;
    Ok(other.unwrap_or(user))
}

async fn authorize(server: &Server, user: &UserInfo, info: &RequestInfo) -> Result<()> {
    let attributes = Attributes { user, info };
    let decision = server.access.authorizer.authorize(&attributes).await;
    if decision.allowed() { Ok(()) } else { Err(forbidden(&attributes, decision.reason())) }
}

fn panicked(info: &RequestInfo) -> Status {
    tracing::error!(verb = %info.verb, path = %info.path, "a request caused a panic");
    Status::internal("This request caused the API server to panic. Look in the logs for details.")
}

/// The client's id for the request, so that it finds the request again in logs; else a new one.
fn audit_id(headers: &HeaderMap) -> String {
    let given = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok());
    given.filter(|id| !id.is_empty() && id.len() <= 64).map_or_else(|| uuid::Uuid::new_v4().to_string(), Into::into)
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Errors come as a whole `Status`, whatever form of objects was asked for.
fn error_media(headers: &HeaderMap) -> Media {
    let fallback = Media { format: Format::Json, form: Form::Full, pretty: false };
    Media { form: Form::Full, ..Media::accepted(headers, None).unwrap_or(fallback) }
}

pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

fn add_headers(headers: &mut HeaderMap, audit_id: &str, warnings: &Warnings) {
    if let Ok(id) = HeaderValue::from_str(audit_id) {
        headers.insert(AUDIT_ID, id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    for text in warnings.take() {
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests;
