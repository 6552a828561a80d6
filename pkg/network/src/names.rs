//! The names of everything that knarr makes in the kernel of a node.
//!
//! A node is one network namespace, so fixed names are enough for any number of nodes on a machine.

/// The bridge that the node's pods are on. It also carries the addresses that only the node itself answers for: the
/// cluster DNS's and those of load balancers.
pub const BRIDGE: &str = "knarr0";

/// What the host's end of a pod's link is called, followed by a hash of the container's id and the link's name.
pub const POD_LINK: &str = "knarr-";

/// Tables of this name, one per family, hold the rules of Services.
pub const SERVICE_TABLE: &str = "knarr";

/// Tables of this name hold what the node needs without any Service: masquerade of pods.
pub const NODE_TABLE: &str = "knarr-node";

/// Tables of this name hold the `hostPort`s of pods.
pub const HOST_PORT_TABLE: &str = "knarr-hostport";

/// The table of this name limits where load-balancer addresses are answered for.
pub const LB_TABLE: &str = "knarr-lb";

/// `rtm_protocol` of our routes and `IFA_PROTO` of our IPv6 addresses: a number that nobody else uses (see `/etc/iproute2/rt_protos`), since routes have no names.
pub const ROUTE_PROTOCOL: u8 = 0x4b;

/// All tables: the family and the name of each.
pub const TABLES: [(&str, &str); 7] = [
    ("ip", SERVICE_TABLE),
    ("ip6", SERVICE_TABLE),
    ("ip", NODE_TABLE),
    ("ip6", NODE_TABLE),
    ("ip", HOST_PORT_TABLE),
    ("ip6", HOST_PORT_TABLE),
    ("arp", LB_TABLE),
];
