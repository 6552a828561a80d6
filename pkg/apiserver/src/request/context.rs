//! What is known about a request while it is served.

use std::sync::{Arc, Mutex, PoisonError};

use knarr_api::user::UserInfo;

use super::RequestInfo;

/// What is known about a request once it has been authenticated. Handlers, admission and hooks get it by reference.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Who asks, after impersonation.
    pub user: UserInfo,
    /// What is asked for.
    pub info: RequestInfo,
    /// How a write is to be done.
    pub options: WriteOptions,
    /// Texts for `Warning:` headers.
    pub warnings: Warnings,
    /// The value of the `Audit-Id` header, the client's or a new one.
    pub audit_id: String,
}

impl RequestContext {
    /// The context of something that the server does on its own behalf as `user`: bootstrap objects, repair loops.
    #[must_use]
    pub fn internal(user: UserInfo) -> Self {
        Self {
            user,
            info: RequestInfo::default(),
            options: WriteOptions::default(),
            warnings: Warnings::default(),
            audit_id: uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// The query parameters that creates, updates, patches and deletes share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `dryRun=All`: everything happens but the write.
    pub dry_run: bool,
    /// `fieldManager`, or what the user agent says.
    pub field_manager: String,
    /// `fieldValidation`.
    pub field_validation: FieldValidation,
    /// `force` of an apply patch.
    pub force: bool,
}

/// What happens to fields that are unknown or given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client gets a warning for each. The server's default.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// Collects the texts of `Warning:` headers; each text once, at most so many bytes as upstream sends. Clones share the texts.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

/// Upstream's limit for all warnings of an answer together (`k8s.io/apiserver/pkg/endpoints/filters/warning.go`).
const MAX_TOTAL: usize = 4 * 1024;

impl Warnings {
    /// Adds a text unless it is already there or the limit is reached.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = texts.iter().map(String::len).sum();
        if !texts.contains(&text) && total + text.len() <= MAX_TOTAL {
            texts.push(text);
        }
    }

    /// Takes out what was collected.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
