//! The network of a node: pods, Services and load-balancer addresses, as kernel state.
//!
//! Everything that a packet needs lives in the kernel (links, addresses, routes, nftables), so that flows go on while no
//! process of knarr runs. The components here only compare what should be with what is, and change the difference:
//!
//! * [`cni`]: the plugin that containerd executes; gives a pod its link and its address.
//! * [`node`]: the bridge, its routes and the masquerade of what pods send to the outside.
//! * [`service`]: the service proxy, as `kube-proxy`'s nftables mode does it.
//! * [`lb`]: MetalLB's kinds: the allocator of addresses (server) and their announcement on the LAN (node).
//! * [`reset`]: removes every object that any of them made.
//!
//! [`Network`] is all of it on a node. Below: [`netlink`], [`nft`], [`packet`].
//!
//! Every object in the kernel carries a name that starts with `knarr` ([`names`]); that is how a restarted process finds
//! its own, and how [`reset`] removes them all.

pub mod addr;
mod bridge;
mod check;
pub mod cni;
mod error;
pub mod lb;
pub mod names;
pub mod netlink;
mod network;
pub mod nft;
pub mod node;
pub mod packet;
mod reset;
pub mod service;
mod sysctl;

pub use addr::{Cidr, Family};
pub use check::{Lack, check};
pub use error::Error;
pub use network::{Config, Network};
pub use reset::reset;

/// The result of everything that touches the kernel.
pub type Result<T, E = Error> = std::result::Result<T, E>;
