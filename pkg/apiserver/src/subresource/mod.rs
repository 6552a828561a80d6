//! Subresources that do something of their own: everything but `status`, which the generic registry does.

mod kubelet;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use knarr_api::kind::KindRef;
use knarr_api::status::Result;

pub use kubelet::Kubelets;

use crate::registry::Registry;
use crate::request::RequestContext;

/// A request for a subresource, authenticated and authorized.
#[derive(Debug)]
pub struct Call<'a> {
    /// User, path, options, warnings.
    pub cx: &'a RequestContext,
    /// Where objects are.
    pub registry: &'a Arc<Registry>,
    /// The parent's kind.
    pub kind: &'a KindRef,
}

/// What answers requests for one subresource of one kind. `call.cx.info` has verb, namespace, name and the rest of the path.
#[async_trait]
pub trait Subresource: Send + Sync {
    /// Answers. The request is whole: its extensions carry the upgrade of the connection for exec and the like.
    ///
    /// # Errors
    /// A status for the client.
    async fn serve(&self, call: Call<'_>, request: Request<Body>) -> Result<Response>;
}

/// All of them, by group, plural and name: `("", "pods", "log")`.
pub type Subresources = HashMap<(&'static str, &'static str, &'static str), Arc<dyn Subresource>>;
