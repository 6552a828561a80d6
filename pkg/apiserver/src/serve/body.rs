//! Bodies of requests.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Limited};
use knarr_api::kind::{Kind, Version};
use knarr_api::object::Meta;
use knarr_api::schema::{self, decode};
use knarr_api::status::Result;
use knarr_api::{Object, Status, protobuf};
use serde_json::Value;

use super::media::{self, BodyFormat};
use crate::request::{FieldValidation, RequestContext};

/// Largest body: upstream's `MaxRequestBodyBytes`.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// Reads a whole body.
///
/// # Errors
/// 413 when it is too large, 400 when it does not arrive.
pub(crate) async fn read(body: Body) -> Result<Bytes> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Status::too_large(MAX_BODY)),
        Err(error) => Err(Status::bad_request(format!("unable to read the request's body: {error}"))),
    }
}

/// Reads an object of `kind` in `version` from a body: JSON, YAML or protobuf, checked against the schema.
///
/// # Errors
/// 400 with upstream's text when it is malformed, 415 for other formats.
pub(crate) fn object(
    cx: &RequestContext,
    headers: &HeaderMap,
    bytes: &[u8],
    kind: &Kind,
    version: &Version,
) -> Result<Object> {
    let api_version = kind.api_version(&version.name);
    typed(cx, headers, bytes, (&api_version, &kind.kind), &version.schema)
}

/// Reads an object of a type that need not be a row of its own, such as a `Scale` or an `Eviction`.
///
/// # Errors
/// As [`object`].
pub(crate) fn typed(
    cx: &RequestContext,
    headers: &HeaderMap,
    bytes: &[u8],
    expected: (&str, &str),
    schema: &str,
) -> Result<Object> {
    let kind = expected.1;
    let unrecognized = |why: &dyn std::fmt::Display| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
    };
    let format = media::body_format(headers)?;
    let decoded = match (format, schema::root(schema)) {
        (BodyFormat::Json, Some(ty)) => decode::from_slice(bytes, ty),
        (format, ty) => {
            let value = match format {
                BodyFormat::Json => serde_json::from_slice(bytes).map_err(|error| unrecognized(&error))?,
                BodyFormat::Yaml => yaml(bytes).map_err(|error| unrecognized(&error))?,
                BodyFormat::Protobuf => protobuf(bytes, schema).map_err(|error| unrecognized(&error))?.into(),
            };
            match (value, ty) {
                (value, Some(ty)) => decode::from_value(value, ty),
                (Value::Object(object), None) => Ok(decode::Decoded { object, strict: Vec::new() }),
                (_, None) => return Err(unrecognized(&"it is not an object")),
            }
        }
    };
    let decoded = decoded.map_err(|error| match error {
        decode::Error::Syntax(_) => unrecognized(&error),
        decode::Error::Type(why) => unhandled(expected, &why),
    })?;
    check_type(&decoded.object, expected)?;
    strict(cx, decoded.strict, |why| unhandled(expected, why))?;
    let mut object = decoded.object;
    object.insert("apiVersion".into(), expected.0.into());
    object.insert("kind".into(), expected.1.into());
    Ok(object)
}

/// Warns of unknown and duplicate fields, or refuses them, as the request wishes.
///
/// # Errors
/// What `refuse` makes of them.
pub(crate) fn strict(cx: &RequestContext, found: Vec<String>, refuse: impl Fn(&str) -> Status) -> Result<()> {
    match cx.options.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            found.into_iter().for_each(|text| cx.warnings.add(text));
            Ok(())
        }
        FieldValidation::Strict => decode::strict_error(&found).map_or(Ok(()), |why| Err(refuse(&why))),
    }
}

/// `Pod in version "v1" cannot be handled as a Pod: ...`
fn unhandled((api_version, kind): (&str, &str), why: &str) -> Status {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

/// An object may leave out its type, but not name another one.
fn check_type(object: &Object, (api_version, kind): (&str, &str)) -> Result<()> {
    let given = (object.str_at(&["apiVersion"]), object.str_at(&["kind"]));
    if !given.1.is_empty() && given.1 != kind {
        let version = given.0.rsplit('/').next().unwrap_or_default();
        let text = format!("{} in version {version:?} cannot be handled as a {kind}: it is of another kind", given.1);
        return Err(Status::bad_request(text));
    }
    if !given.0.is_empty() && given.0 != api_version {
        let text = format!(
            "the API version in the data ({}) does not match the expected API version ({api_version})",
            given.0
        );
        return Err(Status::bad_request(text));
    }
    Ok(())
}

/// An object in protobuf, with the type that its envelope names.
fn protobuf(bytes: &[u8], schema: &str) -> Result<Object, protobuf::Error> {
    let envelope = protobuf::open(bytes)?;
    let mut object = protobuf::decode(envelope.raw, schema)?;
    for (field, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            object.insert(field.into(), text.into());
        }
    }
    Ok(object)
}

/// YAML 1.2 with the octal numbers of 1.1, which file modes are written in.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_slice_with_options(bytes, options)
}

/// Reads the options that the body of a delete may hold; `None` for an empty body.
///
/// # Errors
/// 400 when it is malformed.
pub(crate) fn delete_options(headers: &HeaderMap, bytes: &[u8]) -> Result<Option<Value>> {
    const SCHEMA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let malformed = |error: &dyn std::fmt::Display| Status::bad_request(format!("unable to read options: {error}"));
    let ty = schema::root(SCHEMA).ok_or_else(|| malformed(&"they have no schema"))?;
    let decoded = match media::body_format(headers)? {
        BodyFormat::Json => decode::from_slice(bytes, ty),
        BodyFormat::Yaml => decode::from_value(yaml(bytes).map_err(|error| malformed(&error))?, ty),
        BodyFormat::Protobuf => {
            let object = protobuf(bytes, SCHEMA).map_err(|error| malformed(&error))?;
            decode::from_value(object.into(), ty)
        }
    };
    Ok(Some(decoded.map_err(|error| malformed(&error))?.object.into()))
}
