//! Which plugins there are, in which order.

use std::sync::Arc;

use super::Admission;
use super::lookup::Rights;
use crate::authz::Authorize;
use crate::authz::rbac::Rbac;

/// The plugins that upstream enables by default, in upstream's order (`k8s.io/kubernetes/pkg/kubeapiserver/options/plugins.go`),
/// and NodeRestriction, without which nodes could write each other's objects.
#[must_use]
pub fn default_plugins(authorizer: &Arc<dyn Authorize>, rbac: &Arc<Rbac>) -> Vec<Arc<dyn Admission>> {
    let rights = || Rights(Arc::clone(authorizer));
    vec![
        Arc::new(super::escalation::Escalation { rbac: Arc::clone(rbac), rights: rights() }),
        Arc::new(super::namespace_lifecycle::NamespaceLifecycle),
        Arc::new(super::limit_ranger::LimitRanger),
        Arc::new(super::service_account::ServiceAccount),
        Arc::new(super::node_restriction::NodeRestriction),
        Arc::new(super::taint_nodes::TaintNodesByCondition),
        Arc::new(super::pod_security::PodSecurity),
        Arc::new(super::priority::Priority),
        Arc::new(super::tolerations::DefaultTolerationSeconds),
        Arc::new(super::storage::DefaultStorageClass),
        Arc::new(super::storage::StorageObjectInUseProtection),
        Arc::new(super::storage::PersistentVolumeClaimResize),
        Arc::new(super::runtime_class::RuntimeClass),
        Arc::new(super::certificates::CertificateApproval(rights())),
        Arc::new(super::certificates::CertificateSigning(rights())),
        Arc::new(super::certificates::CertificateSubjectRestriction),
        Arc::new(super::ingress_class::DefaultIngressClass),
    ]
}
