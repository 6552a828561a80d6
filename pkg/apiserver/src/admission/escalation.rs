//! Nobody gives away rights that they do not hold, by a role or by a binding. Upstream does this in the storage of these
//! kinds (`k8s.io/kubernetes/pkg/registry/rbac`); the rules are in [`crate::authz::rbac`].

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::{Tree, same_objects};
use knarr_api::{Object, Status};

use super::lookup::Rights;
use super::{Admission, AdmissionRequest, Operation};
use crate::authz::rbac::{GROUP, Rbac, rules_of};
use crate::request::RequestInfo;

/// See the module.
#[derive(Debug)]
pub(super) struct Escalation {
    pub(super) rbac: Arc<Rbac>,
    pub(super) rights: Rights,
}

#[async_trait]
impl Admission for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let ours = writes && request.kind.group == GROUP && request.subresource.is_none();
        let Some(object) = request.object.as_deref().filter(|_| ours) else { return Ok(()) };
        let bookkeeping = request.old.is_some_and(|old| changes_bookkeeping_only(object, old));
        if request.cx.user.is_in("system:masters") || bookkeeping {
            return Ok(());
        }
        match &*request.kind.plural {
            "roles" | "clusterroles" => self.check_role(request, object).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(request, object).await,
            _ => Ok(()),
        }
    }
}

impl Escalation {
    async fn check_role(&self, request: &AdmissionRequest<'_>, role: &Object) -> Result<()> {
        if self.may(request, "escalate", &request.kind.plural, request.name).await {
            return Ok(());
        }
        let (user, namespace) = (&request.cx.user, request.namespace);
        let held = self.rbac.confirm_no_escalation(user, namespace, &rules_of(role));
        let gathers = |role: &Object| !role.list("aggregationRule.clusterRoleSelectors").is_empty();
        let gathering = gathers(role) || request.old.is_some_and(gathers);
        held.and_then(|()| if gathering { self.rbac.confirm_full_authority(user, namespace) } else { Ok(()) })
            .map_err(|why| request.forbidden(why))
    }

    async fn check_binding(&self, request: &AdmissionRequest<'_>, binding: &Object) -> Result<()> {
        let name = binding.str_at(&["roleRef", "name"]);
        let (resource, namespace) = match binding.str_at(&["roleRef", "kind"]) {
            "ClusterRole" => ("clusterroles", ""),
            _ => ("roles", request.namespace),
        };
        if self.may(request, "bind", resource, name).await {
            return Ok(());
        }
        // The role as of now: it may have been created by the request before this one.
        let role = match request.find(GROUP, resource, namespace, name).await? {
            Some(role) => role,
            None => return Err(missing(request, resource, name)),
        };
        let held = self.rbac.confirm_no_escalation(&request.cx.user, request.namespace, &rules_of(&role));
        held.map_err(|why| request.forbidden(why))
    }

    /// Whether the user holds the explicit right to do so.
    async fn may(&self, request: &AdmissionRequest<'_>, verb: &'static str, resource: &str, name: &str) -> bool {
        let info = RequestInfo {
            verb: verb.into(),
            group: GROUP.into(),
            namespace: request.namespace.into(),
            resource: resource.into(),
            name: name.into(),
            ..RequestInfo::default()
        };
        self.rights.may(request, info).await
    }
}

/// 404: what a role gives that does not exist cannot be held by anybody.
fn missing(request: &AdmissionRequest<'_>, resource: &str, name: &str) -> Status {
    let kind = request.registry.kind(GROUP, resource);
    kind.map_or_else(Status::no_such_path, |kind| Status::not_found(&kind, name))
}

/// Whether nothing changed but what the garbage collector needs to change.
fn changes_bookkeeping_only(new: &Object, old: &Object) -> bool {
    let rest = |object: &Object| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
            object.meta_mut().remove(field);
        }
        object
    };
    same_objects(&rest(new), &rest(old))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::fixture::object;

    #[test]
    fn the_garbage_collector_may_do_its_work() {
        let role = |finalizers: &[&str], verb: &str| {
            object(json!({"metadata": {"name": "r", "finalizers": finalizers}, "rules": [{"verbs": [verb]}]}))
        };
        assert!(changes_bookkeeping_only(&role(&[], "get"), &role(&["a"], "get")));
        assert!(!changes_bookkeeping_only(&role(&[], "get"), &role(&["a"], "list")));
    }
}
