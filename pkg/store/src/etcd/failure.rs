//! What an error of etcd means.

use crate::error::Error;

/// What became of a request that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was refused for a reason that another try does not change.
    Refused(Refusal),
    /// It was not done, and can be: another try may have more luck.
    NotDone(String),
    /// Nobody knows whether it was done.
    Unknown(String),
}

/// Why etcd refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Compacted,
    Future,
    NoSpace,
    TooLarge,
    Other(String),
}

/// How the texts of `go.etcd.io/etcd/api/v3/v3rpc/rpctypes` begin. The codes alone tell too little.
const REFUSALS: &[(&str, Refusal)] = &[
    ("etcdserver: mvcc: required revision has been compacted", Refusal::Compacted),
    ("etcdserver: mvcc: required revision is a future revision", Refusal::Future),
    ("etcdserver: mvcc: database space exceeded", Refusal::NoSpace),
    ("etcdserver: request is too large", Refusal::TooLarge),
];

/// What is said before anything is done.
const NOT_DONE: &[&str] = &["etcdserver: no leader", "etcdserver: too many requests", "raft proposal dropped"];

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => of_status(&status),
            etcd_client::Error::TransportError(error) => Self::Unknown(with_causes(&error)),
            other => Self::Refused(Refusal::Other(other.to_string())),
        }
    }
}

fn of_status(status: &tonic::Status) -> Failure {
    let said = status.message();
    if let Some((_, refusal)) = REFUSALS.iter().find(|(text, _)| said.starts_with(text)) {
        return Failure::Refused(refusal.clone());
    }
    if NOT_DONE.iter().any(|text| said.starts_with(text)) {
        return Failure::NotDone(said.to_owned());
    }
    let causes = std::iter::successors(std::error::Error::source(status), |error| error.source());
    let local = causes.clone().next().is_some();
    if causes.into_iter().any(|error| error.is::<tonic::ConnectError>()) {
        return Failure::NotDone(with_causes(status));
    }
    // What the connection made of it has a cause; what the server said has none.
    match status.code() {
        _ if local => Failure::Unknown(with_causes(status)),
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => {
            Failure::Unknown(said.to_owned())
        }
        code => Failure::Refused(Refusal::Other(format!("{said} ({code:?})"))),
    }
}

impl Refusal {
    /// The error of a request in which nothing was said of revisions and sizes.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NoSpace => Error::NoSpace("etcd: database space exceeded".to_owned()),
            Self::Other(text) => Error::Unavailable(format!("etcd: {text}")),
            other => Error::Unavailable(format!("etcd: {other:?}")),
        }
    }
}

/// An error with everything that caused it, without what was said before.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = match error.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_etcd_are_understood() {
        for (code, text, expected) in [
            (tonic::Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", "Refused(Compacted)"),
            (tonic::Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", "Refused(NoSpace)"),
            (tonic::Code::Unavailable, "etcdserver: no leader", "NotDone(\"etcdserver: no leader\")"),
            (tonic::Code::Unavailable, "etcdserver: leader changed", "Unknown(\"etcdserver: leader changed\")"),
            (tonic::Code::Unavailable, "etcdserver: request timed out", "Unknown(\"etcdserver: request timed out\")"),
            (
                tonic::Code::PermissionDenied,
                "etcdserver: permission denied",
                "Refused(Other(\"etcdserver: permission denied (PermissionDenied)\"))",
            ),
        ] {
            let failure = Failure::from(etcd_client::Error::GRpcStatus(tonic::Status::new(code, text)));
            assert_eq!(format!("{failure:?}"), expected);
        }
    }

    #[test]
    fn what_never_left_was_not_done() {
        let refused = tonic::ConnectError(Box::new(std::io::Error::other("connection refused")));
        let failure = Failure::from(etcd_client::Error::GRpcStatus(tonic::Status::from_error(Box::new(refused))));
        assert!(matches!(&failure, Failure::NotDone(text) if text.contains("connection refused")), "{failure:?}");
        let broken = std::io::Error::other("connection reset");
        let failure = Failure::from(etcd_client::Error::GRpcStatus(tonic::Status::from_error(Box::new(broken))));
        assert!(matches!(failure, Failure::Unknown(_)), "{failure:?}");
    }
}
