//! Authorization: who may do what.

mod aggregation;
mod feed;
pub mod node;
pub mod rbac;
mod union;

use async_trait::async_trait;
use knarr_api::user::UserInfo;

use crate::request::RequestInfo;
pub use aggregation::Aggregation;
pub use feed::AuthorizerFeed;
pub use union::{ClusterAuthorizer, forbidden};

/// What somebody wants to do.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// What. Reviews and impersonation make one up.
    pub info: &'a RequestInfo,
}

/// What an authorizer says. The text is the reason, for people; it may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; no other authorizer is asked.
    Allow(String),
    /// No; no other authorizer is asked.
    Deny(String),
    /// Not my concern.
    NoOpinion(String),
}

impl Decision {
    /// Whether it is a yes.
    #[must_use]
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// Decides who may do what.
#[async_trait]
pub trait Authorize: Send + Sync {
    /// Decides. An authorizer that cannot find out has no opinion and says why.
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}
