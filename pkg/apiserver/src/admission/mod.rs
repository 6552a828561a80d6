//! Admission: what a write must look like beyond what its kind demands.
//!
//! Plugins see objects in their stored version. For a subresource whose body is of another kind (a `Binding`, an
//! `Eviction`) the object is that body.

mod certificates;
mod chain;
mod escalation;
#[cfg(test)]
mod fixture;
mod ingress_class;
mod limit_ranger;
mod lookup;
mod namespace_lifecycle;
mod node_restriction;
mod pod_references;
mod pod_security;
mod priority;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes;
mod tolerations;

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::kind::KindRef;
use knarr_api::status::Result;

pub use chain::default_plugins;

use crate::registry::Registry;
use crate::request::RequestContext;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It comes to be.
    Create,
    /// It changes.
    Update,
    /// It goes, or starts to.
    Delete,
    /// A connection to it is opened: exec, attach, port-forward, proxy.
    Connect,
}

/// A write on its way through admission.
#[derive(Debug)]
pub struct AdmissionRequest<'a> {
    /// The request: user, options, warnings.
    pub cx: &'a RequestContext,
    /// For reading other objects.
    pub registry: &'a Registry,
    /// What is written, or the parent of the subresource.
    pub kind: &'a KindRef,
    /// For example `status` or `binding`.
    pub subresource: Option<&'a str>,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Empty while the name is yet to be generated.
    pub name: &'a str,
    /// What is done.
    pub operation: Operation,
    /// What is to be written; `None` for deletes.
    pub object: Option<&'a mut Object>,
    /// What is there; `None` for creates.
    pub old: Option<&'a Object>,
}

impl AdmissionRequest<'_> {
    /// Whether the request is about `plural` of `group` itself, not one of its subresources.
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_none() && self.kind.group == group && self.kind.plural == plural
    }
}

/// One admission plugin.
#[async_trait]
pub trait Admission: Send + Sync + std::fmt::Debug {
    /// Its name, as `--disable-admission-plugins` and error texts use it.
    fn name(&self) -> &'static str;

    /// Changes the object before its kind's validation, or refuses it.
    ///
    /// # Errors
    /// To refuse it.
    async fn mutate(&self, _request: &mut AdmissionRequest<'_>) -> Result<()> {
        Ok(())
    }

    /// Refuses the object, or not, after its kind's validation. `request.object` must be left as it is.
    ///
    /// # Errors
    /// To refuse it.
    async fn validate(&self, _request: &AdmissionRequest<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
