//! Requests for resources: one table of resources, one function per verb, no route per kind.

pub(crate) mod body;
pub(crate) mod encode;
mod incoming;
mod list_body;
pub(crate) mod media;
mod read;
mod remove;
mod watch;
mod write;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, header};
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use knarr_base::Shutdown;

pub(crate) use incoming::Incoming;

use crate::registry::{Registry, Resource};
use crate::request::{Query, RequestContext};
use crate::subresource::{Call, Subresources};
use encode::{Encoder, Include};
use media::{Format, Media};

/// What handlers of resources share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) registry: Arc<Registry>,
    pub(crate) subresources: Subresources,
    /// Ends the watches.
    pub(crate) drain: Shutdown,
}

/// A request for a resource, with everything that is known about it.
pub(crate) struct Operation<'a> {
    pub(crate) api: &'a Api,
    pub(crate) cx: &'a RequestContext,
    pub(crate) resource: &'a Arc<Resource>,
    pub(crate) encoder: Encoder,
}

impl Api {
    /// Answers an authorized request for a resource.
    pub(crate) async fn serve(&self, cx: &RequestContext, request: Request<Body>) -> Result<Response> {
        let info = &cx.info;
        let resource = self.registry.resource(&info.group, &info.resource).ok_or_else(Status::no_such_path)?;
        let kind = &resource.kind;
        if kind.version(&info.version).is_none() {
            return Err(Status::no_such_path());
        }
        let is_itself = info.group.is_empty() && info.resource == "namespaces";
        if !kind.namespaced && !info.namespace.is_empty() && !is_itself {
            return Err(Status::no_such_path());
        }
        if kind.namespaced && info.namespace.is_empty() && !is_collection(&info.verb) {
            // Upstream has such paths for lists and watches only.
            let has_name = !info.name.is_empty();
            return Err(if has_name { Status::no_such_path() } else { Status::method_not_allowed() });
        }
        check_verb(&resource, &info.subresource, &info.verb)?;
        let one_at_a_time = matches!(&*info.verb, "update" | "patch");
        let named_by_its_body = info.verb == "create" && info.subresource.is_empty();
        if (one_at_a_time && info.name.is_empty()) || (named_by_its_body && !info.name.is_empty()) {
            return Err(Status::method_not_allowed());
        }
        if let Some(own) = self.subresources.find(&info.group, &info.resource, &info.subresource) {
            return own.serve(Call { cx, registry: &self.registry, resource: &resource }, request).await;
        }
        // What is left has the parent's own form: `status`, `approval`, `finalize`. The strategy says what of it counts.
        if kind.subresource(&info.subresource).is_some_and(|subresource| subresource.body.is_some()) {
            return Err(Status::no_such_path());
        }
        let encoder = encoder(&resource, &request, &info.version)?;
        Operation { api: self, cx, resource: &resource, encoder }.run(request).await
    }
}

impl Operation<'_> {
    async fn run(self, request: Request<Body>) -> Result<Response> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        match &*self.cx.info.verb {
            "get" => self.get().await,
            "list" => self.list(Query::new(&query)).await,
            "watch" => self.watch(Query::new(&query)).await,
            "create" => self.create(request).await,
            "update" | "patch" => self.change(request).await,
            "delete" => self.delete(request).await,
            "deletecollection" => self.delete_collection(request).await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// The namespace that objects are in: a request for a namespace has one in its path, but the object is in none.
    pub(crate) fn namespace(&self) -> &str {
        if self.resource.kind.namespaced { &self.cx.info.namespace } else { "" }
    }

    pub(crate) fn subresource(&self) -> Option<&str> {
        Some(&*self.cx.info.subresource).filter(|name| !name.is_empty())
    }

    pub(crate) fn write(&self) -> crate::registry::Write<'_> {
        crate::registry::Write {
            cx: self.cx,
            resource: self.resource,
            namespace: self.namespace(),
            name: &self.cx.info.name,
            subresource: self.subresource(),
        }
    }
}

fn is_collection(verb: &str) -> bool {
    matches!(verb, "list" | "watch")
}

/// 404 for subresources that do not exist, 405 for verbs that the row does not list.
fn check_verb(resource: &Resource, subresource: &str, verb: &str) -> Result<()> {
    let verbs = match subresource {
        "" => resource.kind.verbs,
        name => resource.kind.subresource(name).ok_or_else(Status::no_such_path)?.verbs,
    };
    // Connections to a proxy come with any method, which authorization sees as the verbs of objects.
    let connects = matches!(subresource, "proxy" | "exec" | "attach" | "portforward");
    if connects || verbs.contains(&verb) { Ok(()) } else { Err(Status::method_not_allowed()) }
}

/// The encoder for what a request accepts.
pub(crate) fn encoder(resource: &Resource, request: &Request<Body>, version: &str) -> Result<Encoder> {
    let query = Query::new(request.uri().query().unwrap_or_default());
    let media = Media::accepted(request.headers(), query.get("pretty").as_deref())?;
    let include = match query.get("includeObject").as_deref() {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        _ => Include::Metadata,
    };
    Encoder::new(resource, version, media, include)
}

/// An answer of bytes.
pub(crate) fn answer(code: StatusCode, format: Format, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(format.content_type()));
    response
}

/// An answer that is an object which is not stored, such as a review or a `Scale`.
pub(crate) fn answer_object(code: StatusCode, media: Media, object: &Object) -> Result<Response> {
    Ok(answer(code, media.format, encode::render(object, media)?))
}

/// An answer that is a `Status`.
pub(crate) fn answer_status(status: &Status, media: Media) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = encode::render(status, media).unwrap_or_default();
    let mut response = answer(code, media.format, body);
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, retry.into());
    }
    response
}

#[cfg(test)]
mod tests;
