//! NodeRestriction: what a node writes concerns that node:
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>.

use std::collections::BTreeSet;

use async_trait::async_trait;
use knarr_api::Object;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::{Tree, same, same_objects};

use super::pod_references::{PodReference, references};
use super::{Admission, AdmissionRequest, Operation};
use crate::authz::node::node_name;

const MIRROR: &str = "kubernetes.io/config.mirror";
const CSR_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// See the module.
#[derive(Debug)]
pub(super) struct NodeRestriction;

/// Why a node may not do that.
type Verdict = std::result::Result<(), String>;

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<()> {
        let Some(node) = node_name(&request.cx.user) else { return Ok(()) };
        if node.is_empty() {
            let why = format!("could not determine node from user {:?}", request.cx.user.username);
            return Err(request.forbidden(why));
        }
        if request.operation == Operation::Connect {
            return Ok(());
        }
        let pod = match (&*request.kind.group, &*request.kind.plural, request.subresource) {
            ("", "pods", Some("eviction")) => request.find("", "pods", request.namespace, request.name).await?,
            ("", "serviceaccounts", Some("token")) => bound_pod(request).await?,
            _ => None,
        };
        let own = match (&*request.kind.group, &*request.kind.plural, request.subresource) {
            ("", "pods", None) if request.operation == Operation::Create => request.find("", "nodes", "", node).await?,
            _ => None,
        };
        check(request, node, pod.as_ref(), own.as_ref()).map_err(|why| request.forbidden(why))
    }
}

/// The pod that a requested token is to be bound to.
async fn bound_pod(request: &AdmissionRequest<'_>) -> Result<Option<Object>> {
    let reference = request.object.as_deref().map(|body| body.text("spec.boundObjectRef.name")).unwrap_or_default();
    if reference.is_empty() { Ok(None) } else { request.find("", "pods", request.namespace, reference).await }
}

fn check(request: &AdmissionRequest<'_>, node: &str, pod: Option<&Object>, own: Option<&Object>) -> Verdict {
    let (new, old, operation) = (request.object.as_deref(), request.old, request.operation);
    match (&*request.kind.group, &*request.kind.plural, request.subresource) {
        ("", "pods", None) => match (operation, new, old) {
            (Operation::Create, Some(pod), _) => create_pod(node, pod, own),
            (Operation::Delete, _, Some(pod)) => {
                let text = || format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                ensure(pod.text("spec.nodeName") == node, text)
            }
            _ => Err(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods")),
        },
        ("", "pods", Some("status")) => both(new, old).map_or(Ok(()), |(new, old)| pod_status(node, new, old)),
        ("", "pods", Some("eviction")) => {
            let owner = pod.map(|pod| pod.text("spec.nodeName")).unwrap_or_default();
            let text = || format!("node {node} can only evict pods with spec.nodeName set to itself");
            ensure(owner == node, text)
        }
        ("", "pods", Some(other)) => {
            Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => node_object(node, request.name, new, old, operation),
        ("", "persistentvolumeclaims", Some("status")) => {
            both(new, old).map_or(Ok(()), |(new, old)| claim_status(node, new, old))
        }
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
        ("", "serviceaccounts", Some("token")) => new.map_or(Ok(()), |body| token(node, body, pod)),
        ("coordination.k8s.io", "leases", _) => {
            let text = || "can only access leases in the \"kube-node-lease\" system namespace".into();
            ensure(request.namespace == "kube-node-lease", text)?;
            own_name(node, request, "can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes", _) => {
            own_name(node, request, "can only access CSINode with the same name as the requesting node")
        }
        ("resource.k8s.io", "resourceslices", _) => resource_slice(node, new, old, operation),
        ("certificates.k8s.io", "certificatesigningrequests", None) if operation == Operation::Create => {
            new.map_or(Ok(()), |request| signing_request(node, request))
        }
        _ => Ok(()),
    }
}

fn both<'a>(new: Option<&'a Object>, old: Option<&'a Object>) -> Option<(&'a Object, &'a Object)> {
    new.zip(old)
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(text()) }
}

fn own_name(node: &str, request: &AdmissionRequest<'_>, text: &str) -> Verdict {
    let name = match (request.operation, request.object.as_deref()) {
        (Operation::Create, Some(object)) => object.name(),
        _ => request.name,
    };
    ensure(name == node, || text.into())
}

fn create_pod(node: &str, pod: &Object, own: Option<&Object>) -> Verdict {
    if !pod.map("metadata.annotations").contains_key(MIRROR) {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    let only = format!("node {node:?} can only create pods with");
    ensure(pod.text("spec.nodeName") == node, || format!("{only} spec.nodeName set to itself"))?;
    let owners: Vec<_> = pod.objects("metadata.ownerReferences").collect();
    let owner = match owners.as_slice() {
        [] => return Err(format!("{only} an owner reference set to itself")),
        [owner] => *owner,
        _ => return Err(format!("{only} a single owner reference set to itself")),
    };
    let is_own = (owner.text("apiVersion"), owner.text("kind"), owner.text("name")) == ("v1", "Node", node);
    ensure(is_own, || format!("{only} an owner reference set to itself"))?;
    ensure(owner.is_true("controller"), || format!("{only} a controller owner reference set to itself"))?;
    ensure(!owner.is_true("blockOwnerDeletion"), || {
        format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
    })?;
    let Some(own) = own else { return Err(format!("node {node:?} not found")) };
    let (named, uid) = (owner.text("uid"), own.uid());
    ensure(named == uid, || format!("node {node} UID mismatch: expected {named} got {uid}"))?;
    match api_reference(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// Volume types that need something of the API.
const API_VOLUMES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];

/// Sources of projected volumes that need something of the API.
const API_SOURCES: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// What of the API a pod needs; a pod that a node makes may need nothing.
fn api_reference(pod: &Object) -> Option<&'static str> {
    if !pod.text("spec.serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    if references(pod).any(|reference| matches!(reference, PodReference::Secret { .. })) {
        return Some("secrets");
    }
    if references(pod).any(|reference| reference == PodReference::ConfigMap) {
        return Some("configmaps");
    }
    if !pod.list("spec.resourceClaims").is_empty() {
        return Some("resourceclaims");
    }
    let first = |of: &Object, table: &[(&str, &'static str)]| {
        table.iter().find(|(field, _)| of.has(field)).map(|(_, what)| *what)
    };
    pod.objects("spec.volumes").find_map(|volume| {
        let sources = || volume.objects("projected.sources").find_map(|source| first(source, &API_SOURCES));
        first(volume, &API_VOLUMES).or_else(sources)
    })
}

fn pod_status(node: &str, new: &Object, old: &Object) -> Verdict {
    ensure(old.text("spec.nodeName") == node, || {
        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
    })?;
    ensure(same_objects(new.map("metadata.labels"), old.map("metadata.labels")), || {
        format!("node {node:?} cannot update labels through pod status")
    })?;
    let unchanged = |path: &str| same(new.value(path), old.value(path));
    ensure(unchanged("status.resourceClaimStatuses"), || {
        format!("node {node:?} cannot update resource claim statues")
    })?;
    ensure(unchanged("status.extendedResourceClaimStatus"), || {
        format!("node {node:?} cannot update extended resource claim status")
    })
}

/// Fields of a claim's status that a node reports.
const CLAIM_STATUS: [&str; 4] = ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];

fn claim_status(node: &str, new: &Object, old: &Object) -> Verdict {
    let rest = |claim: &Object| {
        let mut claim = claim.clone();
        for field in ["resourceVersion", "managedFields"] {
            claim.meta_mut().remove(field);
        }
        CLAIM_STATUS.iter().for_each(|field| drop(claim.section("status").remove(*field)));
        claim
    };
    ensure(same_objects(&rest(new), &rest(old)), || {
        format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions")
    })
}

fn node_object(node: &str, name: &str, new: Option<&Object>, old: Option<&Object>, operation: Operation) -> Verdict {
    let name = if name.is_empty() { new.map(Meta::name).unwrap_or_default() } else { name };
    ensure(name == node, || format!("node {node:?} is not allowed to modify node {name:?}"))?;
    let Some(new) = new else { return Ok(()) };
    let none = Object::new();
    let forbidden = forbidden_labels(new.map("metadata.labels"), old.map_or(&none, |old| old.map("metadata.labels")));
    if operation == Operation::Create {
        ensure(!new.has("spec.configSource"), || {
            format!("node {node:?} is not allowed to create pods with a non-nil configSource")
        })?;
        return ensure(forbidden.is_empty(), || {
            format!("node {node:?} is not allowed to set the following labels: {forbidden}")
        });
    }
    let Some(old) = old else { return Ok(()) };
    let unchanged = |path: &str| same(new.value(path), old.value(path));
    ensure(!new.has("spec.configSource") || unchanged("spec.configSource"), || {
        format!("node {node:?} is not allowed to update configSource to a new non-nil configSource")
    })?;
    ensure(unchanged("spec.taints"), || format!("node {node:?} is not allowed to modify taints"))?;
    ensure(unchanged("metadata.ownerReferences"), || {
        format!("node {node:?} is not allowed to modify ownerReferences")
    })?;
    ensure(forbidden.is_empty(), || format!("is not allowed to modify labels: {forbidden}"))
}

/// Labels of Kubernetes' own that a node may set on itself.
const NODE_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Changed labels that a node may not set, in order, with commas.
fn forbidden_labels(new: &Object, old: &Object) -> String {
    let changed = |key: &&String| new.get(*key) != old.get(*key);
    let keys: BTreeSet<_> = new.keys().chain(old.keys()).filter(changed).collect();
    let forbidden: Vec<_> = keys.into_iter().map(String::as_str).filter(|key| !may_set(key)).collect();
    forbidden.join(", ")
}

fn may_set(label: &str) -> bool {
    let namespace = label.split_once('/').map(|(namespace, _)| namespace).unwrap_or_default();
    let within =
        |domain: &str| namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes || NODE_LABELS.contains(&label) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

fn token(node: &str, body: &Object, pod: Option<&Object>) -> Verdict {
    let part = |field: &str| body.text(&format!("spec.boundObjectRef.{field}")).to_owned();
    let bound = part("apiVersion") == "v1" && part("kind") == "Pod" && !part("name").is_empty();
    ensure(bound, || "node requested token not bound to a pod".into())?;
    let uid = part("uid");
    ensure(!uid.is_empty(), || "node requested token with a pod binding without a uid".into())?;
    let Some(pod) = pod else { return Err(format!("pod {:?} not found", part("name"))) };
    ensure(pod.uid() == uid, || {
        format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )
    })?;
    ensure(pod.text("spec.nodeName") == node, || {
        "node requested token bound to a pod scheduled on a different node".into()
    })?;
    audience(node, body, pod)
}

/// A node may ask for the audiences that the pod's volumes name.
fn audience(node: &str, body: &Object, pod: &Object) -> Verdict {
    let audiences = body.list("spec.audiences");
    let wanted = match audiences {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".into()),
    };
    let mut sources = pod.objects("spec.volumes").flat_map(|volume| volume.objects("projected.sources"));
    let named = sources
        .any(|source| source.has("serviceAccountToken") && source.text("serviceAccountToken.audience") == wanted);
    ensure(named, || {
        format!(
            "audience {wanted:?} not found in pod spec volume, system:node:{node} is not authorized to request tokens for \
             this audience"
        )
    })
}

fn resource_slice(node: &str, new: Option<&Object>, old: Option<&Object>, operation: Operation) -> Verdict {
    let (slice, verb) = match operation {
        Operation::Create => (new, "create"),
        Operation::Delete => (old, "delete"),
        _ => return Ok(()),
    };
    let owner = slice.map(|slice| slice.text("spec.nodeName")).unwrap_or_default();
    ensure(owner == node, || format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
}

fn signing_request(node: &str, request: &Object) -> Verdict {
    if !CSR_SIGNERS.contains(&request.text("spec.signerName")) {
        return Ok(());
    }
    let parsed = super::certificates::parse(request).map_err(|why| format!("unable to parse csr: {why}"))?;
    ensure(parsed.common_name == format!("system:node:{node}"), || {
        format!("can only create a node CSR with CN=system:node:{node}")
    })
}

#[cfg(test)]
mod tests;
