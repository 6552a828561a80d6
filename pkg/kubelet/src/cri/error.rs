//! What a runtime answers instead of a result.

/// A failed CRI call. The text is what users see in events and conditions, so it is the runtime's own.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct Error(Box<tonic::Status>);

impl Error {
    /// The object does not exist (any more).
    #[must_use]
    pub fn not_found(&self) -> bool {
        self.0.code() == tonic::Code::NotFound
    }

    /// The runtime cannot be reached, or went away during the call.
    #[must_use]
    pub fn unavailable(&self) -> bool {
        matches!(self.0.code(), tonic::Code::Unavailable | tonic::Code::Cancelled)
    }

    /// The runtime does not know the call.
    #[must_use]
    pub fn unimplemented(&self) -> bool {
        self.0.code() == tonic::Code::Unimplemented
    }

    /// The call took longer than it may.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0.code() == tonic::Code::DeadlineExceeded
    }

    /// As Go's gRPC client words it: upstream's events carry this form.
    #[must_use]
    pub fn rpc(&self) -> String {
        format!("rpc error: code = {:?} desc = {}", self.0.code(), self.0.message())
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self(Box::new(status))
    }
}
