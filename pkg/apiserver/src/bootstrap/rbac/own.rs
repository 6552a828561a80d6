//! Roles of knarr's own parts, which upstream does not have.

use super::row::{EVENTS, READ, Role, on, role};

/// Roles of the data plane and of what runs on a node beside the kubelet.
pub(super) const OWN: &[Role] = &[
    // Cluster DNS: names of Services, of their endpoints and of pods.
    role(
        "knarr:dataplane",
        &[on(READ, "core", "services endpoints pods namespaces nodes"), on(READ, "discovery.k8s.io", "endpointslices")],
    ),
    // The service proxy and the announcer of load-balancer addresses run as the node itself. What upstream gives kube-proxy
    // for that (`system:node-proxier`) lets a node see the other nodes.
    role(
        "knarr:node",
        &[
            on(READ, "core", "services nodes"),
            on(READ, "discovery.k8s.io", "endpointslices"),
            on(READ, "metallb.io", "ipaddresspools l2advertisements"),
            EVENTS,
        ],
    ),
    // The allocator of load balancer addresses.
    role(
        "knarr:load-balancer-controller",
        &[
            on(READ, "core", "services namespaces pods"),
            on("patch", "core", "services services/status"),
            on(READ, "metallb.io", "*"),
            EVENTS,
        ],
    ),
];

/// Roles of controllers of ours, without their prefix.
pub(super) const OWN_CONTROLLERS: &[Role] = &[role(
    "load-balancer-controller",
    &[
        on("get list watch patch update", "core", "services"),
        on("patch update", "core", "services/status"),
        on(READ, "core", "namespaces pods"),
        on(READ, "metallb.io", "ipaddresspools"),
        on("patch update", "metallb.io", "ipaddresspools/status"),
        EVENTS,
    ],
)];
