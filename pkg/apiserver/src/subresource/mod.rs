//! Subresources that do something of their own: everything but `status`, which the generic registry does.

mod binding;
mod component_status;
mod eviction;
mod kubelet;
mod scale;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use knarr_api::status::Result;

pub use kubelet::Kubelets;

use crate::registry::{Registry, Resource, Write};
use crate::request::RequestContext;

/// A request for a subresource, authenticated and authorized.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// User, path, options, warnings.
    pub cx: &'a RequestContext,
    /// Where objects are.
    pub registry: &'a Arc<Registry>,
    /// The parent.
    pub resource: &'a Arc<Resource>,
}

impl<'a> Call<'a> {
    /// A write of the parent.
    #[must_use]
    pub fn write(&self, subresource: Option<&'a str>) -> Write<'a> {
        let namespace = if self.resource.kind.namespaced { &*self.cx.info.namespace } else { "" };
        Write { cx: self.cx, resource: self.resource, namespace, name: &self.cx.info.name, subresource }
    }
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

/// All of them, by group, plural and name: `("", "pods", "log")`. The empty name is the resource itself, for those that are
/// not stored: reviews.
#[derive(Clone, Default)]
pub struct Subresources(HashMap<(&'static str, &'static str, &'static str), Arc<dyn Subresource>>);

impl Subresources {
    /// Adds one.
    pub fn insert(&mut self, at: (&'static str, &'static str, &'static str), subresource: Arc<dyn Subresource>) {
        self.0.insert(at, subresource);
    }

    /// One of them.
    #[must_use]
    pub fn find<'a>(&'a self, group: &'a str, plural: &'a str, name: &'a str) -> Option<&'a Arc<dyn Subresource>> {
        self.0.get(&(group, plural, name))
    }
}

impl std::fmt::Debug for Subresources {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

/// Adds the subresources that need nothing but the registry.
pub(crate) fn with_builtin(mut subresources: Subresources) -> Subresources {
    subresources.insert(("", "pods", "binding"), Arc::new(binding::Binding));
    subresources.insert(("", "bindings", ""), Arc::new(binding::Binding));
    subresources.insert(("", "componentstatuses", ""), Arc::new(component_status::ComponentStatus));
    subresources.insert(("", "pods", "eviction"), Arc::new(eviction::Eviction));
    for (group, plural) in scale::WORKLOADS {
        subresources.insert((group, plural, "scale"), Arc::new(scale::Scale));
    }
    subresources
}
