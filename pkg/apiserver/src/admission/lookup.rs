//! What plugins ask and answer.

use std::fmt;
use std::sync::Arc;

use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::{Object, Status};

use super::{AdmissionRequest, Operation};
use crate::authz::{Attributes, Authorize};
use crate::cache::{Position, Selection};
use crate::registry::Resource;
use crate::request::RequestInfo;

impl AdmissionRequest<'_> {
    /// 403 in upstream's form. A name that is yet to be generated is shown as what it will start with.
    pub(super) fn forbidden(&self, why: impl fmt::Display) -> Status {
        let named = |field| self.object.as_deref().map(|object| object.meta(field)).filter(|text| !text.is_empty());
        let name = Some(self.name).filter(|name| !name.is_empty());
        let name = name.or_else(|| named("name")).or_else(|| named("generateName")).unwrap_or("Unknown");
        Status::forbidden(self.kind, name, why)
    }

    /// The object as of now; `None` when it does not exist. Upstream's plugins read informers, which may be behind; here the
    /// cache is at most a wake-up away from the present, so that a label or a class counts from its acknowledgement on.
    pub(super) async fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<Option<Object>> {
        let resource = self.resource(group, plural)?;
        match self.registry.item(&resource, namespace, name).await {
            Ok(item) => item.stored.object(&resource.stored).map(Some),
            Err(status) if status.is("NotFound") => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// All objects of a resource, in a namespace or, when that is empty, everywhere.
    pub(super) async fn all(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Object>> {
        let resource = self.resource(group, plural)?;
        let selection = Selection::all(&resource.stored, namespace);
        let listing = resource.cache()?.list(&selection, Position::Now, 0).await?;
        listing.items.iter().map(|item| item.stored.object(&resource.stored)).collect()
    }

    fn resource(&self, group: &str, plural: &str) -> Result<Arc<Resource>> {
        let missing = || Status::internal(format!("there is no resource {plural}.{group}"));
        self.registry.resource(group, plural).ok_or_else(missing)
    }

    /// Whether this creates `plural` of `group` itself.
    pub(super) fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }

    /// Whether this is about `subresource` of `plural` of `group`.
    pub(super) fn is_sub(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.subresource == Some(subresource) && self.kind.group == group && self.kind.plural == plural
    }
}

/// Whom a plugin asks what the user may do besides the request itself.
#[derive(Clone)]
pub(super) struct Rights(pub(super) Arc<dyn Authorize>);

impl fmt::Debug for Rights {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Rights")
    }
}

impl Rights {
    /// Whether the user may do what `about` says of a resource.
    pub(super) async fn may(&self, request: &AdmissionRequest<'_>, about: RequestInfo) -> bool {
        let info = RequestInfo { is_resource: true, version: "*".into(), ..about };
        self.0.authorize(&Attributes { user: &request.cx.user, info: &info }).await.allowed()
    }
}

/// Those of `classes` that carry one of the annotations with the value `true`; of several the newest, of equally old ones
/// the first by name.
pub(super) fn default_class<'a>(classes: &'a [Object], annotations: &[&str]) -> Option<&'a str> {
    let marked = |class: &&Object| {
        annotations
            .iter()
            .any(|annotation| class.at(&["metadata", "annotations", annotation]).is_some_and(|v| v == "true"))
    };
    let newest = |one: &&Object, other: &&Object| {
        let age = one.meta("creationTimestamp").cmp(other.meta("creationTimestamp"));
        age.then_with(|| other.name().cmp(one.name()))
    };
    classes.iter().filter(marked).max_by(newest).map(Meta::name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn the_newest_default_class_wins() {
        let class = |name: &str, made: &str, default: &str| {
            object(json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {"default": default}}}))
        };
        let classes = [
            class("old", "2020-01-01T00:00:00Z", "true"),
            class("b", "2021-01-01T00:00:00Z", "true"),
            class("a", "2021-01-01T00:00:00Z", "true"),
            class("newest", "2022-01-01T00:00:00Z", "false"),
        ];
        assert_eq!(default_class(&classes, &["default"]), Some("a"));
        assert_eq!(default_class(&classes, &["other"]), None);
    }
}
