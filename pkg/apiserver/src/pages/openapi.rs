//! `/openapi/v2` and `/openapi/v3`. Documents are made when somebody first asks and then kept, compressed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use knarr_api::Status;
use knarr_api::kind::KindRef;
use knarr_api::openapi::{self, Packed, V2_PROTOBUF};
use knarr_api::status::Result;
use serde_json::Value;

use super::{version, with_etag};
use crate::request::Query;
use crate::serve::media::{Format, Media};
use crate::serve::{answer, encode};
use crate::server::Server;

/// What has been made so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Documents(Mutex<BTreeMap<String, Arc<Packed>>>);

/// What is asked for.
#[derive(Clone, Debug)]
enum Document {
    V2,
    V2Protobuf,
    V3 { group: String, version: String },
}

impl Document {
    fn name(&self) -> String {
        match self {
            Self::V2 => "v2".into(),
            Self::V2Protobuf => "v2 protobuf".into(),
            Self::V3 { group, version } => format!("v3 {group}/{version}"),
        }
    }

    fn make(&self, kinds: &[KindRef]) -> std::io::Result<Option<Packed>> {
        match self {
            Self::V2 => openapi::v2(kinds, version::RELEASE).map(Some),
            Self::V2Protobuf => openapi::v2_protobuf(kinds, version::RELEASE).map(Some),
            Self::V3 { group, version } => openapi::v3(kinds, group, version, version::RELEASE),
        }
    }
}

impl Documents {
    fn known(&self, name: &str) -> Option<Arc<Packed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn keep(&self, name: String, packed: Packed) -> Arc<Packed> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name).or_insert_with(|| Arc::new(packed)).clone()
    }
}

impl Server {
    /// Answers below `/openapi`; `path` is what follows.
    pub(super) async fn openapi(&self, path: &[&str], request: Request<Body>) -> Result<Response> {
        let (parts, _) = request.into_parts();
        let headers = &parts.headers;
        let document = match path {
            ["v2"] if accepts(headers, V2_PROTOBUF) => Document::V2Protobuf,
            ["v2"] => Document::V2,
            ["v3"] => {
                let index = openapi::index(self.api.registry.resources().kinds());
                let media = Media::accepted(headers, None)?;
                return Ok(answer(StatusCode::OK, media.format, encode::render(&index, media)?));
            }
            ["v3", "api", version] => Document::V3 { group: String::new(), version: (*version).into() },
            ["v3", "apis", group, version] => Document::V3 { group: (*group).into(), version: (*version).into() },
            _ => return Err(Status::no_such_path()),
        };
        if let Document::V3 { group, version } = &document
            && let Some(elsewhere) = self.moved(group, version, parts.uri.query().unwrap_or_default())
        {
            return Ok(elsewhere);
        }
        let packed = self.document(&document).await?;
        let mut response = packed_answer(&document, &packed, headers)?;
        if parts.uri.query().is_some_and(|query| Query::new(query).get("hash").is_some()) {
            // The hash is in the address: what is there never changes.
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        Ok(with_etag(headers, response, &packed.etag))
    }

    /// A document is asked for by the hash of its content; who has an old one is sent to the new one.
    fn moved(&self, group: &str, version: &str, query: &str) -> Option<Response> {
        let asked = Query::new(query).get("hash")?;
        let resources = self.api.registry.resources();
        let hash = openapi::hash(resources.kinds(), group, version);
        if asked == hash {
            return None;
        }
        let place = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let location = format!("/openapi/v3/{place}?hash={hash}").parse().ok()?;
        response.headers_mut().insert(header::LOCATION, location);
        Some(response)
    }

    async fn document(&self, document: &Document) -> Result<Arc<Packed>> {
        let name = document.name();
        if let Some(known) = self.documents.known(&name) {
            return Ok(known);
        }
        let (resources, wanted) = (self.api.registry.resources(), document.clone());
        let made = tokio::task::spawn_blocking(move || wanted.make(resources.kinds())).await;
        let packed = made.map_err(Status::internal)?.map_err(Status::internal)?.ok_or_else(Status::no_such_path)?;
        Ok(self.documents.keep(name, packed))
    }
}

fn packed_answer(document: &Document, packed: &Packed, headers: &HeaderMap) -> Result<Response> {
    let gzip = crate::filter::accepts_gzip(headers);
    let content: bytes::Bytes =
        if gzip { packed.gzip.clone() } else { packed.unpack().map_err(Status::internal)?.into() };
    if matches!(document, Document::V2Protobuf) {
        return Ok(encoded(answer(StatusCode::OK, Format::Json, content), gzip, Some(V2_PROTOBUF)));
    }
    let media = Media::accepted(headers, None)?;
    if media.format == Format::Json {
        return Ok(encoded(answer(StatusCode::OK, media.format, content), gzip, None));
    }
    let value: Value = serde_json::from_slice(&packed.unpack().map_err(Status::internal)?).map_err(Status::internal)?;
    Ok(answer(StatusCode::OK, media.format, encode::render(&value, media)?))
}

fn encoded(mut response: Response, gzip: bool, content_type: Option<&'static str>) -> Response {
    let headers = response.headers_mut();
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim() == media_type)
}
