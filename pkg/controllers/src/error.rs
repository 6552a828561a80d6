//! What stops a reconcile.

use knarr_client::cache::Behind;

/// Why a reconcile has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a write, or cannot be reached.
    #[error("{}", said(.0))]
    Api(#[from] kube::Error),
    /// A cache does not show the last write yet.
    #[error(transparent)]
    Behind(#[from] Behind),
    /// An object is not what the controller can work with.
    #[error("{0}")]
    Unusable(String),
}

/// The server's own words where there are some.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// `404`: it is gone.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// `409 AlreadyExists`: somebody has made it.
pub(crate) fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// Nothing can be created because the namespace is being deleted: no reason to complain or to try again.
pub(crate) fn namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}

/// An absent object is what a deletion wants.
pub(crate) fn gone_is_fine<T>(outcome: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
