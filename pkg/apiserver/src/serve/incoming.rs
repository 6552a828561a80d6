//! The body of a change: a whole object or a patch.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request};
use knarr_api::patch::{Patch, PatchKind, undecodable};
use knarr_api::schema::{self, decode};
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use serde_json::Value;

use super::{body, media};
use crate::request::RequestContext;

/// What an update or patch brings.
#[derive(Debug)]
pub(crate) struct Incoming {
    change: Change,
    /// `apiVersion` and `kind` that the object has.
    api_version: String,
    kind: String,
    schema: String,
}

#[derive(Debug)]
enum Change {
    Put(Object),
    Patch(Patch),
}

impl Incoming {
    /// Reads the body of a PUT or PATCH for objects of this type.
    ///
    /// # Errors
    /// 400 when it is malformed, 415 for media types that are not known.
    pub(crate) async fn read(
        cx: &RequestContext,
        request: Request<Body>,
        (api_version, kind): (&str, &str),
        schema: &str,
    ) -> Result<Self> {
        let (parts, content) = request.into_parts();
        let patch = if cx.info.verb == "patch" { Some(patch_kind(&parts.headers)?) } else { None };
        let bytes = body::read(content).await?;
        let change = match patch {
            Some(patch) => Self::patch(cx, patch, &bytes)?,
            None => Change::Put(body::typed(cx, &parts.headers, &bytes, (api_version, kind), schema)?),
        };
        Ok(Self { change, api_version: api_version.into(), kind: kind.into(), schema: schema.into() })
    }

    fn patch(cx: &RequestContext, kind: PatchKind, bytes: &Bytes) -> Result<Change> {
        let mut patch = Patch::parse(kind, bytes)?;
        let found = std::mem::take(&mut patch.strict);
        body::strict(cx, found, |why| Status::bad_request(why))?;
        Ok(Change::Patch(patch))
    }

    /// The object as it shall be; `current` is what is there, in the version of the request.
    ///
    /// # Errors
    /// When the patch does not fit.
    pub(crate) fn apply(&self, cx: &RequestContext, current: impl FnOnce() -> Result<Object>) -> Result<Object> {
        let patch = match &self.change {
            Change::Put(object) => return Ok(object.clone()),
            Change::Patch(patch) => patch,
        };
        let ty = schema::root(&self.schema);
        let patched = patch.apply(current()?, ty)?;
        let Some(ty) = ty else { return Ok(patched) };
        let refuse = |why: &str| undecodable(&Value::Object(Object::new()), why);
        let decoded = decode::from_value(Value::Object(patched), ty).map_err(|error| refuse(&error.to_string()))?;
        body::strict(cx, decoded.strict, refuse)?;
        let mut object = decoded.object;
        object.insert("apiVersion".into(), self.api_version.as_str().into());
        object.insert("kind".into(), self.kind.as_str().into());
        Ok(object)
    }
}

fn patch_kind(headers: &HeaderMap) -> Result<PatchKind> {
    PatchKind::of(&media::content_type(headers)).ok_or_else(|| {
        let known: Vec<_> = PatchKind::MEDIA_TYPES.iter().map(|(name, _)| *name).collect();
        Status::unsupported_media_type(&known.join(", "))
    })
}
