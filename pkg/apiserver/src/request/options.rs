//! Query parameters and option objects of reads and deletes.

use std::borrow::Cow;
use std::time::Duration;

use knarr_api::Status;
use knarr_api::status::Result;
use serde::Deserialize;

use super::context::{FieldValidation, WriteOptions};

/// A query string.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Wraps what follows the question mark.
    #[must_use]
    pub const fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        form_urlencoded::parse(self.0.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All values of a parameter.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        form_urlencoded::parse(self.0.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    /// A boolean as upstream reads it: present and neither `false` nor `0`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(&*value.to_ascii_lowercase(), "false" | "0"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let invalid = || Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        text.parse().map(Some).map_err(|_| invalid())
    }

    /// The parameters that writes share.
    ///
    /// # Errors
    /// For a `dryRun` other than `All` and a `fieldValidation` that does not exist.
    pub fn write_options(&self, user_agent: &str) -> Result<WriteOptions> {
        let dry_run = self.all("dryRun");
        if let Some(other) = dry_run.iter().find(|value| *value != "All") {
            return Err(Status::bad_request(format!(
                "dryRun: Unsupported value: {other:?}: supported values: \"All\""
            )));
        }
        let field_validation = match self.get("fieldValidation").as_deref() {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let text = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(Status::bad_request(text));
            }
        };
        let field_manager = match self.get("fieldManager") {
            Some(given) if !given.is_empty() => given.into_owned(),
            _ => user_agent.split('/').next().unwrap_or_default().to_owned(),
        };
        Ok(WriteOptions { dry_run: !dry_run.is_empty(), field_manager, field_validation, force: self.flag("force") })
    }
}

fn check_dry_run(given: &[String]) -> Result<()> {
    let unsupported = |other| format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
    given.iter().find(|value| *value != "All").map_or(Ok(()), |other| Err(Status::bad_request(unsupported(other))))
}

/// How the answer to a list relates to the revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Exactly that revision.
    Exact,
    /// That revision or a newer one.
    NotOlderThan,
}

/// `meta/v1 ListOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Unparsed.
    pub label_selector: String,
    /// Unparsed.
    pub field_selector: String,
    /// `None` when absent, `Some(0)` for "any".
    pub resource_version: Option<u64>,
    /// Only meaningful with a revision.
    pub version_match: Option<VersionMatch>,
    /// At most so many items; 0 means all.
    pub limit: usize,
    /// From the previous page.
    pub continue_token: String,
    /// When the server ends a watch.
    pub timeout: Option<Duration>,
    /// Whether a watch gets bookmarks.
    pub bookmarks: bool,
    /// Whether a watch starts with what exists and says where that ends.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads a query.
    ///
    /// # Errors
    /// For malformed numbers and combinations that upstream's `ValidateListOptions` refuses.
    pub fn new(query: Query<'_>, watch: bool) -> Result<Self> {
        let text = |name| query.get(name).unwrap_or_default().into_owned();
        let version_match = match &*text("resourceVersionMatch") {
            "" => None,
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            other => return Err(invalid("resourceVersionMatch", &unsupported_match(other))),
        };
        let options = Self {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            resource_version: resource_version(&text("resourceVersion"))?,
            version_match,
            limit: query.number::<i64>("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            continue_token: text("continue"),
            timeout: query
                .number::<i64>("timeoutSeconds")?
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        if watch {
            options.check_watch()?
        } else {
            options.check_list()?
        }
        Ok(options)
    }

    /// `ValidateListOptions` of `k8s.io/apimachinery/pkg/apis/meta/internalversion/validation`.
    fn check_list(&self) -> Result<()> {
        if self.send_initial_events.is_some() {
            return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        let Some(version_match) = self.version_match else { return Ok(()) };
        let field = "resourceVersionMatch";
        if self.resource_version.is_none() {
            return Err(forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !self.continue_token.is_empty() {
            return Err(forbidden(field, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if version_match == VersionMatch::Exact && self.resource_version == Some(0) {
            let text = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(forbidden(field, text));
        }
        Ok(())
    }

    fn check_watch(&self) -> Result<()> {
        let field = "resourceVersionMatch";
        match (self.send_initial_events, self.version_match) {
            (Some(_), Some(VersionMatch::NotOlderThan)) | (None, None) => {}
            (Some(_), None) => {
                let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(forbidden(field, text));
            }
            (Some(_), Some(VersionMatch::Exact)) => return Err(invalid(field, &unsupported_match("Exact"))),
            (None, Some(_)) => {
                let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return Err(forbidden(field, text));
            }
        }
        if self.send_initial_events == Some(true) && !self.bookmarks {
            return Err(forbidden("sendInitialEvents", "sendInitialEvents requires allowWatchBookmarks"));
        }
        Ok(())
    }
}

fn unsupported_match(given: &str) -> String {
    format!("Unsupported value: {given:?}: supported values: \"Exact\", \"NotOlderThan\"")
}

fn forbidden(field: &str, detail: &str) -> Status {
    invalid(field, &format!("Forbidden: {detail}"))
}

fn invalid(field: &str, body: &str) -> Status {
    Status::failure(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {body}"))
}

/// Reads a revision; empty is `None`.
///
/// # Errors
/// When it is not a decimal number.
pub(crate) fn resource_version(text: &str) -> Result<Option<u64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| {
        let errors =
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::failure(400, "BadRequest", errors)
    };
    text.parse().map(Some).map_err(invalid)
}

/// `meta/v1 DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// Seconds until the object goes; `None` means the kind's default.
    pub grace_period_seconds: Option<i64>,
    /// What must be true of the object.
    pub preconditions: Option<Preconditions>,
    /// Old form of `propagationPolicy`.
    pub orphan_dependents: Option<bool>,
    /// What happens to dependents.
    pub propagation_policy: Option<Propagation>,
    /// `["All"]` or empty.
    pub dry_run: Vec<String>,
}

/// What must be true of an object that is to be deleted or updated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// Its UID.
    pub uid: Option<String>,
    /// Its revision.
    pub resource_version: Option<String>,
}

/// What happens to the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Propagation {
    /// They stay, without an owner.
    Orphan,
    /// The garbage collector deletes them afterwards.
    Background,
    /// The garbage collector deletes them first.
    Foreground,
}

impl DeleteOptions {
    /// Reads the query's form of the options.
    ///
    /// # Errors
    /// For malformed values.
    pub fn from_query(query: Query<'_>) -> Result<Self> {
        let propagation_policy = match query.get("propagationPolicy").as_deref() {
            None | Some("") => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => return Err(Self::bad_policy(other)),
        };
        Ok(Self {
            grace_period_seconds: query.number("gracePeriodSeconds")?,
            preconditions: None,
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            propagation_policy,
            dry_run: query.all("dryRun"),
        })
    }

    /// Reads the body's form of the options.
    ///
    /// # Errors
    /// For malformed values and for a body that is something else.
    pub fn from_body(value: serde_json::Value) -> Result<Self> {
        let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or("DeleteOptions");
        if kind != "DeleteOptions" {
            let text = format!("decoded object cannot be converted to DeleteOptions: it is a {kind}");
            return Err(Status::bad_request(text));
        }
        let policy = value.get("propagationPolicy").and_then(serde_json::Value::as_str);
        if let Some(other) = policy.filter(|policy| !matches!(*policy, "Orphan" | "Background" | "Foreground")) {
            return Err(Self::bad_policy(other));
        }
        let options: Self = serde_json::from_value(value)
            .map_err(|error| Status::bad_request(format!("unable to read DeleteOptions: {error}")))?;
        check_dry_run(&options.dry_run)?;
        Ok(options)
    }

    /// 422 for a policy that does not exist.
    fn bad_policy(given: &str) -> Status {
        let text = format!(
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {given:?}: \
             supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\""
        );
        Status::failure(422, "Invalid", text)
    }
}
