//! Media types: what a client accepts and what it sends.

use http::{HeaderMap, header};
use knarr_api::status::Result;
use knarr_api::{Status, protobuf};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    /// The text format.
    pub(crate) format: Format,
    /// What of an object is sent.
    pub(crate) form: Form,
    /// Indented, for people.
    pub(crate) pretty: bool,
}

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
}

/// What of an object is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All of it.
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
    /// A `Table`.
    Table,
}

/// What the server writes, for error messages.
const SERVED: &str = "application/json, application/yaml";

/// What the server reads, for error messages.
const READ: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// One media range of an `Accept` header.
struct Range<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameter =
            |part: &'a str| part.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches('"')));
        Self { name, parameters: parts.filter_map(parameter).collect() }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn quality(&self) -> f32 {
        self.parameter("q").and_then(|q| q.parse().ok()).unwrap_or(1.0)
    }

    fn format(&self) -> Option<Format> {
        match self.name.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            _ => None,
        }
    }

    fn form(&self) -> Option<Form> {
        let Some(kind) = self.parameter("as") else { return Some(Form::Full) };
        if self.parameter("g") != Some("meta.k8s.io") || self.parameter("v") != Some("v1") {
            return None;
        }
        match kind {
            "Table" => Some(Form::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Form::Metadata),
            _ => None,
        }
    }
}

impl Media {
    /// The first thing the client accepts that the server can do. `query_pretty` is the parameter of that name.
    ///
    /// # Errors
    /// 406 when there is none.
    pub(crate) fn accepted(headers: &HeaderMap, query_pretty: Option<&str>) -> Result<Self> {
        let pretty = query_pretty.map_or_else(|| is_for_people(headers), |value| !matches!(value, "false" | "0"));
        let accept: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let accept = accept.join(",");
        let mut ranges: Vec<Range<'_>> =
            accept.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Range::new).collect();
        if ranges.is_empty() {
            return Ok(Self { format: Format::Json, form: Form::Full, pretty });
        }
        ranges.sort_by(|a, b| b.quality().total_cmp(&a.quality()));
        let served = |range: &Range<'_>| Some(Self { format: range.format()?, form: range.form()?, pretty });
        ranges.iter().find_map(served).ok_or_else(|| Status::not_acceptable(SERVED))
    }
}

/// Programs with which people look at answers without a client's help: upstream's list.
fn is_for_people(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|program| agent.starts_with(program))
}

/// The media type of a body, without its parameters; JSON when the client does not say.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if name.is_empty() { Format::Json.content_type().into() } else { name }
}

/// The format of a body that is an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Json,
    Yaml,
    Protobuf,
}

/// The format of a body that is an object.
///
/// # Errors
/// 415 for formats that are not known.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<BodyFormat> {
    match content_type(headers).as_str() {
        // Old clients say nothing in particular of bodies of DELETE.
        "application/json" | "*/*" => Ok(BodyFormat::Json),
        "application/yaml" => Ok(BodyFormat::Yaml),
        protobuf::MEDIA_TYPE => Ok(BodyFormat::Protobuf),
        _ => Err(Status::unsupported_media_type(READ)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Option<(Format, Form)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Media::accepted(&headers, None).ok().map(|media| (media.format, media.form))
    }

    #[test]
    fn the_best_range_that_is_served_wins() {
        let table = [
            ("application/json", Some((Format::Json, Form::Full))),
            ("*/*", Some((Format::Json, Form::Full))),
            ("application/yaml", Some((Format::Yaml, Form::Full))),
            ("application/json;q=0.5, application/yaml", Some((Format::Yaml, Form::Full))),
            ("application/vnd.kubernetes.protobuf,application/json", Some((Format::Json, Form::Full))),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some((Format::Json, Form::Table)),
            ),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Some((Format::Json, Form::Full))),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", None),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some((Format::Json, Form::Metadata))),
            ("application/json;stream=watch", Some((Format::Json, Form::Full))),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some((Format::Json, Form::Full))),
        ];
        for (accept, expected) in table {
            assert_eq!(accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn browsers_and_curl_get_indented_answers() {
        let mut headers = HeaderMap::new();
        assert!(!Media::accepted(&headers, None).unwrap().pretty);
        headers.insert(header::USER_AGENT, "curl/8.1".parse().unwrap());
        assert!(Media::accepted(&headers, None).unwrap().pretty);
        assert!(!Media::accepted(&headers, Some("false")).unwrap().pretty);
        assert!(Media::accepted(&HeaderMap::new(), Some("1")).unwrap().pretty);
    }
}
