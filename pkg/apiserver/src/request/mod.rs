//! What a request asks for, and what is known about it while it is served.

mod context;
mod info;
mod options;

pub use context::{FieldValidation, RequestContext, Warnings, WriteOptions};
pub use info::RequestInfo;
pub use options::{DeleteOptions, ListOptions, Preconditions, Propagation, Query, VersionMatch};
