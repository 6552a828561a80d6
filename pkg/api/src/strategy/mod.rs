//! What is special about a kind.
//!
//! The generic registry runs every write through the same steps, in upstream's order (`k8s.io/apiserver`
//! `pkg/registry/rest/create.go` and `update.go`); a kind supplies only what differs:
//!
//! ```text
//! create: decode -> default -> prepare_for_create -> validate -> warnings -> encode
//! update: decode -> default -> prepare_for_update -> validate_update -> warnings -> encode
//! ```
//!
//! Defaults and validations see the *stored* version. Everything here is pure; what needs the store (allocation) or
//! other objects (admission) lives in the API server.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod diff;
mod discovery;
mod extensions;
mod fill;
mod flowcontrol;

mod metallb;
mod networking;
mod pod;
mod policy;
mod rbac;
mod resource;
mod row;
mod rules;
mod selector;
mod storage;

use crate::field::Errors;
use crate::forms;
use crate::object::Object;
use crate::tree;
use crate::user::UserInfo;

/// What a strategy may know about the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `None` for the object itself, else for example `status`.
    pub subresource: Option<&'a str>,
    /// Now, as RFC 3339 with seconds: the form of `metadata.creationTimestamp`.
    pub now: &'a str,
}

/// What a kind adds to the generic registry. Every method has a default that does what most kinds need.
pub trait Strategy: Sync {
    /// Sets defaults that depend on other fields. Runs on everything that is decoded: bodies and patched objects.
    fn default(&self, _object: &mut Object) {}

    /// Clears what a creator may not set (by default `status`, for kinds with that subresource) and starts `generation`.
    fn prepare_for_create(&self, _cx: &Context<'_>, _object: &mut Object) {}

    /// Restores what this update may not change beyond what the registry has restored before it calls this: all but
    /// `metadata` and `status` through `/status`, `status` through everything else. Afterwards the registry sets
    /// `generation`, see [`Strategy::changes_generation`].
    fn prepare_for_update(&self, _cx: &Context<'_>, _new: &mut Object, _old: &Object) {}

    /// Whether the status that comes with a new object is kept: a kubelet registers its node together with its status.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Errors of an object on its own. The registry validates names, labels, annotations and owner references itself.
    fn validate(&self, _cx: &Context<'_>, _object: &Object) -> Errors {
        Errors::new()
    }

    /// Errors of a change; immutable fields belong here. By default whatever [`Strategy::validate`] says of the new object.
    fn validate_update(&self, cx: &Context<'_>, new: &Object, _old: &Object) -> Errors {
        self.validate(cx, new)
    }

    /// Texts for `Warning:` headers.
    fn warnings(&self, _object: &Object, _old: Option<&Object>) -> Vec<String> {
        Vec::new()
    }

    /// How `metadata.name` is checked: by default a DNS-1123 subdomain.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Whether PUT of an object that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without `resourceVersion` overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Whether `metadata.generation` counts changes of the desired state; it starts at 1.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether an update changes the desired state and so makes `generation` one more than that of `old`; asked for kinds
    /// that have a generation, of updates of the object itself (not of its status), after [`Strategy::prepare_for_update`].
    fn changes_generation(&self, new: &Object, old: &Object) -> bool {
        !tree::same(new.get("spec"), old.get("spec"))
    }

    /// Seconds that a delete waits for kinds that end gracefully, given what the request asks for; `None` for all others,
    /// which are deleted at once. 0 deletes at once too: upstream's `CheckGracefulDelete`.
    fn grace_period(&self, _object: &Object, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// The propagation policy of a delete that names none: upstream orphans for some old kinds, otherwise background.
    fn orphans_by_default(&self) -> bool {
        false
    }
}

/// The strategy of a built-in kind; [`Plain`] for every kind that needs nothing special.
#[must_use]
pub fn of(group: &str, kind: &str) -> &'static dyn Strategy {
    match (group, kind) {
        ("", "Pod") => &pod::POD,
        ("", "Service") => &core::SERVICE,
        ("", "ConfigMap") => &core::CONFIG_MAP,
        ("", "Secret") => &core::SECRET,
        ("", "Namespace") => &core::NAMESPACE,
        ("", "ServiceAccount") => &core::SERVICE_ACCOUNT,
        ("", "Node") => &core::NODE,
        ("", "Endpoints") => &core::ENDPOINTS,
        ("", "Event") => &core::EVENT,
        ("events.k8s.io", "Event") => &core::NEW_EVENT,
        ("", "LimitRange") => &core::LIMIT_RANGE,
        ("", "ResourceQuota") => &core::QUOTA,
        ("", "ReplicationController") => &core::CONTROLLER,
        ("", "PodTemplate") => &core::POD_TEMPLATE,
        ("", "PersistentVolume") => &core::VOLUME,
        ("", "PersistentVolumeClaim") => &core::CLAIM,
        ("apps", "Deployment") => &apps::DEPLOYMENT,
        ("apps", "ReplicaSet") => &apps::REPLICA_SET,
        ("apps", "DaemonSet") => &apps::DAEMON_SET,
        ("apps", "StatefulSet") => &apps::STATEFUL_SET,
        ("apps", "ControllerRevision") => &apps::CONTROLLER_REVISION,
        ("batch", "Job") => &batch::JOB,
        ("batch", "CronJob") => &batch::CRON_JOB,
        ("networking.k8s.io", "Ingress") => &networking::INGRESS,
        ("networking.k8s.io", "IngressClass") => &networking::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &networking::NETWORK_POLICY,
        ("networking.k8s.io", "IPAddress") => &networking::IP_ADDRESS,
        ("networking.k8s.io", "ServiceCIDR") => &networking::SERVICE_CIDR,
        ("rbac.authorization.k8s.io", "Role") => &rbac::ROLE,
        ("rbac.authorization.k8s.io", "ClusterRole") => &rbac::CLUSTER_ROLE,
        ("rbac.authorization.k8s.io", "RoleBinding") => &rbac::ROLE_BINDING,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => &rbac::CLUSTER_ROLE_BINDING,
        ("policy", "PodDisruptionBudget") => &policy::DISRUPTION_BUDGET,
        ("storage.k8s.io", "StorageClass") => &storage::STORAGE_CLASS,
        ("storage.k8s.io", "VolumeAttachment") => &storage::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVER,
        ("storage.k8s.io", "CSINode") => &storage::CSI_NODE,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::CSI_STORAGE_CAPACITY,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::VOLUME_ATTRIBUTES_CLASS,
        ("scheduling.k8s.io", "PriorityClass") => &coordination::PRIORITY_CLASS,
        ("coordination.k8s.io", "Lease") => &coordination::LEASE,
        ("coordination.k8s.io", "LeaseCandidate") => &coordination::LEASE_CANDIDATE,
        ("node.k8s.io", "RuntimeClass") => &coordination::RUNTIME_CLASS,
        ("discovery.k8s.io", "EndpointSlice") => &discovery::ENDPOINT_SLICE,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::AUTOSCALER,
        ("certificates.k8s.io", "CertificateSigningRequest") => &certificates::SIGNING_REQUEST,
        ("certificates.k8s.io", "ClusterTrustBundle") => &certificates::TRUST_BUNDLE,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => &admission::VALIDATING_WEBHOOKS,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => &admission::MUTATING_WEBHOOKS,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => &admission::POLICY,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            &admission::POLICY_BINDING
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &extensions::DEFINITION,
        ("apiregistration.k8s.io", "APIService") => &extensions::API_SERVICE,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flowcontrol::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &flowcontrol::PRIORITY_LEVEL,
        ("resource.k8s.io", "ResourceClaim") => &resource::CLAIM,
        ("resource.k8s.io", "ResourceClaimTemplate") => &resource::CLAIM_TEMPLATE,
        ("resource.k8s.io", "DeviceClass" | "ResourceSlice" | "DeviceTaintRule") => &resource::COUNTED,
        ("metallb.io", "IPAddressPool") => &metallb::ADDRESS_POOL,
        ("metallb.io", "L2Advertisement") => &metallb::L2_ADVERTISEMENT,
        _ => &Plain,
    }
}

/// How the name of an object is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// RFC 1035 label.
    Label1035,
    /// Any path segment: RBAC names such as `system:node`.
    PathSegment,
    /// An IP address in canonical form.
    IpAddress,
}

/// A kind that needs nothing special.
#[derive(Debug)]
pub struct Plain;

impl Strategy for Plain {}

#[cfg(test)]
mod tests;
