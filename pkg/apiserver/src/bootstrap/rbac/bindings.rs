//! Who gets which of the built-in roles.

use super::row::{EVENTS, READ, Role, named, on, role};

/// Whom a binding binds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    User(&'static str),
    Group(&'static str),
    /// A service account of `kube-system`.
    Account(&'static str),
}

use Who::{Account, Group, User};

/// A binding of the role of the same name.
pub(super) type Binding = (&'static str, &'static [Who]);

/// Cluster-wide. `system:node` is bound to nobody: the Node authorizer applies it.
pub(super) const CLUSTER: &[Binding] = &[
    ("cluster-admin", &[Group("system:masters")]),
    ("system:basic-user", &[Group("system:authenticated")]),
    ("system:discovery", &[Group("system:authenticated")]),
    ("system:kube-controller-manager", &[User("system:kube-controller-manager")]),
    ("system:kube-dns", &[Account("kube-dns")]),
    ("system:kube-scheduler", &[User("system:kube-scheduler")]),
    ("system:monitoring", &[Group("system:monitoring")]),
    ("system:node", &[]),
    ("system:node-proxier", &[User("system:kube-proxy")]),
    ("system:public-info-viewer", &[Group("system:authenticated"), Group("system:unauthenticated")]),
    ("system:service-account-issuer-discovery", &[Group("system:serviceaccounts")]),
    ("system:volume-scheduler", &[User("system:kube-scheduler")]),
    ("knarr:dataplane", &[Group("knarr:dataplanes")]),
    ("knarr:load-balancer-controller", &[Account("load-balancer-controller")]),
    ("knarr:node", &[Group("system:nodes")]),
];

/// Namespace, name, role, subjects.
pub(super) type LocalBinding = (&'static str, &'static str, &'static str, &'static [Who]);

const LEASES: &[super::row::Rule] = &[
    on("create get list update watch", "coordination.k8s.io", "leases"),
    on("create get list update watch", "coordination.k8s.io", "leasecandidates"),
];

/// Roles of namespaces.
pub(super) const LOCAL_ROLES: &[(&str, Role)] = &[
    (
        "kube-public",
        role(
            "system:controller:bootstrap-signer",
            &[on(READ, "core", "configmaps"), named("update", "core", "configmaps", "cluster-info"), EVENTS],
        ),
    ),
    (
        "kube-system",
        role(
            "extension-apiserver-authentication-reader",
            &[named(READ, "core", "configmaps", "extension-apiserver-authentication")],
        ),
    ),
    ("kube-system", role("system::leader-locking-kube-controller-manager", LEASES)),
    ("kube-system", role("system::leader-locking-kube-scheduler", LEASES)),
    ("kube-system", role("system:controller:bootstrap-signer", &[on(READ, "core", "secrets")])),
    ("kube-system", role("system:controller:cloud-provider", &[on("create get list watch", "core", "configmaps")])),
    ("kube-system", role("system:controller:token-cleaner", &[on("delete get list watch", "core", "secrets"), EVENTS])),
];

/// Bindings in namespaces.
pub(super) const LOCAL: &[LocalBinding] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[
            User("system:kube-controller-manager"),
            Account("kube-controller-manager"),
            Account("leader-election-controller"),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[User("system:kube-scheduler"), Account("kube-scheduler")],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[Account("cloud-provider")],
    ),
    ("kube-system", "system:controller:token-cleaner", "system:controller:token-cleaner", &[Account("token-cleaner")]),
];
