//! The Node authorizer: <https://kubernetes.io/docs/reference/access-authn-authz/node/>.
//!
//! A node may read what its own pods need and write what concerns itself. What it may do besides stands in the role
//! `system:node`, which is bound to nobody: this authorizer applies it. The texts are upstream's
//! (`k8s.io/kubernetes/plugin/pkg/auth/authorizer/node`).

mod graph;

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use knarr_api::Object;
use knarr_api::user::UserInfo;
use tokio::sync::watch;

use graph::{Graph, Resource};

use super::rbac::Rule;
use crate::request::RequestInfo;

const LEASES: &str = "kube-node-lease";
const UNRELATED: &str = "no relationship found between node";
/// How long a node's request may wait for the pod that makes it right.
const PATIENCE: Duration = Duration::from_millis(100);

/// Decides for users that are nodes.
#[derive(Debug)]
pub struct NodeAuthorizer {
    rules: Vec<Rule>,
    graph: RwLock<Graph>,
    changes: watch::Sender<()>,
}

/// `Ok` allows; `Err` is no opinion, with a reason that may be empty.
type Verdict = Result<(), String>;

/// The name of the node that a user is; `Some("")` for one that says it is a node, but not which.
#[must_use]
pub fn node_name(user: &UserInfo) -> Option<&str> {
    let name = user.username.strip_prefix("system:node:")?;
    user.is_in("system:nodes").then_some(name)
}

impl NodeAuthorizer {
    /// An authorizer that knows no objects yet; `rules` are those of the role `system:node`.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, graph: RwLock::default(), changes: watch::Sender::new(()) }
    }

    /// Takes over an object that was written or deleted (`None`). Only pods, persistent volumes, volume attachments and
    /// resource slices matter; the group tells nothing that the resource does not.
    pub fn changed(&self, resource: &str, namespace: &str, name: &str, object: Option<&Object>) {
        let mut graph = self.graph.write().unwrap_or_else(PoisonError::into_inner);
        match resource {
            "pods" => graph.pod_changed(namespace, name, object),
            "persistentvolumes" => graph.volume_changed(name, object),
            "volumeattachments" => graph.attachment_changed(name, object),
            "resourceslices" => graph.slice_changed(name, object),
            _ => {}
        }
        drop(graph);
        self.changes.send_replace(());
    }

    /// Whether the request is a node's and is one that it may make. A node that hears of a new pod asks at once for what the
    /// pod needs, and may be faster than this authorizer hears of the pod: what it seems not to need gets a moment to show
    /// up before the answer is no.
    ///
    /// # Errors
    /// When it has no opinion, with a reason where there is one.
    pub async fn authorize(&self, user: &UserInfo, request: &RequestInfo) -> Verdict {
        let mut changes = self.changes.subscribe();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let verdict = self.decide(user, request);
            let unrelated = verdict.as_ref().is_err_and(|why| why.starts_with(UNRELATED));
            if !unrelated || !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return verdict;
            }
        }
    }

    fn decide(&self, user: &UserInfo, request: &RequestInfo) -> Verdict {
        let Some(node) = node_name(user) else { return Err(String::new()) };
        if node.is_empty() {
            return Err(format!("unknown node for user {:?}", user.username));
        }
        if !request.is_resource {
            return self.uniformly(request);
        }
        match (request.group.as_str(), request.resource.as_str()) {
            ("", "secrets") => self.read_related(node, Resource::Secret, request),
            ("", "configmaps") => self.read_related(node, Resource::ConfigMap, request),
            ("", "persistentvolumeclaims") if request.subresource == "status" => self.update_claim(node, request),
            ("", "persistentvolumeclaims") => self.get_related(node, Resource::Claim, request),
            ("", "persistentvolumes") => self.get_volume(node, request),
            ("resource.k8s.io", "resourceclaims") => self.get_related(node, Resource::DeviceClaim, request),
            ("storage.k8s.io", "volumeattachments") => self.get_related(node, Resource::VolumeAttachment, request),
            ("", "serviceaccounts") => self.service_account(node, request),
            ("coordination.k8s.io", "leases") => lease(node, request),
            ("storage.k8s.io", "csinodes") => csi_node(node, request),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(node, request),
            ("", "nodes") => own_node(node, request),
            ("", "pods") => self.pod(node, request),
            _ => self.uniformly(request),
        }
    }

    fn uniformly(&self, request: &RequestInfo) -> Verdict {
        allow_if(self.rules.iter().any(|rule| rule.allows(request)), "")
    }

    fn related(&self, node: &str, resource: Resource, request: &RequestInfo) -> Verdict {
        allow_if(!request.name.is_empty(), "No Object name found")?;
        let graph = self.graph.read().unwrap_or_else(PoisonError::into_inner);
        let sees = graph.sees(node, &(resource, request.namespace.clone(), request.name.clone()));
        if sees { Ok(()) } else { Err(unrelated(node)) }
    }

    fn get_related(&self, node: &str, resource: Resource, request: &RequestInfo) -> Verdict {
        only_get(request)?;
        self.related(node, resource, request)
    }

    fn get_volume(&self, node: &str, request: &RequestInfo) -> Verdict {
        only_get(request)?;
        allow_if(!request.name.is_empty(), "No Object name found")?;
        let graph = self.graph.read().unwrap_or_else(PoisonError::into_inner);
        if graph.sees_volume(node, &request.name) { Ok(()) } else { Err(unrelated(node)) }
    }

    fn read_related(&self, node: &str, resource: Resource, request: &RequestInfo) -> Verdict {
        allow_if(is_read(request), "can only read resources of this type")?;
        allow_if(request.subresource.is_empty(), "cannot read subresource")?;
        allow_if(!request.namespace.is_empty(), "can only read namespaced object of this type")?;
        self.related(node, resource, request)
    }

    fn update_claim(&self, node: &str, request: &RequestInfo) -> Verdict {
        allow_if(matches!(&*request.verb, "update" | "patch"), "can only get/update/patch this type")?;
        self.related(node, Resource::Claim, request)
    }

    fn service_account(&self, node: &str, request: &RequestInfo) -> Verdict {
        if request.verb == "get" && request.subresource.is_empty() {
            return self.read_related(node, Resource::ServiceAccount, request);
        }
        let individual = request.verb == "create" && !request.name.is_empty();
        allow_if(individual, "can only create tokens for individual service accounts")?;
        allow_if(request.subresource == "token", "can only create token subresource of serviceaccount")?;
        self.related(node, Resource::ServiceAccount, request)
    }

    fn pod(&self, node: &str, request: &RequestInfo) -> Verdict {
        match (request.subresource.as_str(), &*request.verb) {
            ("", "get") => self.get_related(node, Resource::Pod, request),
            ("", "list" | "watch") if selects(request, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !request.name.is_empty() => self.related(node, Resource::Pod, request),
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".into()),
            // NodeRestriction limits these to the node's own pods; the authorizer does not know the object.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    fn resource_slice(&self, node: &str, request: &RequestInfo) -> Verdict {
        allow_if(request.subresource.is_empty(), "cannot authorize ResourceSlice subresources")?;
        match &*request.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, Resource::DeviceSlice, request),
            "watch" | "list" | "deletecollection" => allow_if(
                selects(request, "spec.nodeName", node),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                      patch, delete, deletecollection"
                .into()),
        }
    }
}

fn lease(node: &str, request: &RequestInfo) -> Verdict {
    let verb = matches!(&*request.verb, "get" | "create" | "update" | "patch" | "delete");
    allow_if(verb, "can only get, create, update, patch, or delete a node lease")?;
    allow_if(request.namespace == LEASES, "can only access leases in the \"kube-node-lease\" system namespace")?;
    own_name(node, request, "can only access node lease with the same name as the requesting node")
}

fn csi_node(node: &str, request: &RequestInfo) -> Verdict {
    let verb = matches!(&*request.verb, "get" | "create" | "update" | "patch" | "delete");
    allow_if(verb, "can only get, create, update, patch, or delete a CSINode")?;
    allow_if(request.subresource.is_empty(), "cannot authorize CSINode subresources")?;
    own_name(node, request, "can only access CSINode with the same name as the requesting node")
}

/// A create is left to NodeRestriction, because its path carries no name.
fn own_name(node: &str, request: &RequestInfo, otherwise: &str) -> Verdict {
    allow_if(request.verb == "create" || request.name == node, otherwise)
}

fn own_node(node: &str, request: &RequestInfo) -> Verdict {
    match (request.subresource.as_str(), &*request.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match request.name.as_str() {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => Err(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

fn only_get(request: &RequestInfo) -> Verdict {
    allow_if(request.verb == "get", "can only get individual resources of this type")?;
    allow_if(request.subresource.is_empty(), "cannot get subresource")
}

fn is_read(request: &RequestInfo) -> bool {
    matches!(&*request.verb, "get" | "list" | "watch")
}

/// Whether the field selector demands `field = value`.
fn selects(request: &RequestInfo, field: &str, value: &str) -> bool {
    request.field_selector.split(',').any(|term| {
        let equation = term.split_once('=').filter(|(name, _)| !name.ends_with('!'));
        equation.is_some_and(|(name, wanted)| name.trim() == field && wanted.trim_start_matches('=').trim() == value)
    })
}

fn unrelated(node: &str) -> String {
    format!("{UNRELATED} '{node}' and this object")
}

fn allow_if(allowed: bool, otherwise: &str) -> Verdict {
    if allowed { Ok(()) } else { Err(otherwise.into()) }
}

#[cfg(test)]
mod tests;
