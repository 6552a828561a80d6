//! Roles of knarr's own parts, which upstream does not have.

use super::row::{EVENTS, READ, Role, on, role};

/// Roles of the data plane and of what runs on a node beside the kubelet.
pub(super) const OWN: &[Role] = &[
    // Cluster DNS: names of Services, of their endpoints and of pods.
    role(
        "knarr:dataplane",
        &[on(READ, "core", "services endpoints pods namespaces nodes"), on(READ, "discovery.k8s.io", "endpointslices")],
    ),
    // The service proxy, network policies and the announcer of load balancer addresses run as the node itself.
    role(
        "knarr:node",
        &[
            on(READ, "core", "services endpoints pods namespaces nodes"),
            on(READ, "discovery.k8s.io", "endpointslices"),
            on(READ, "networking.k8s.io", "networkpolicies servicecidrs ipaddresses"),
            on(READ, "metallb.io", "*"),
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
