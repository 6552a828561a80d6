//! What a node's pods need whether there are Services or not: the bridge, routes, forwarding, masquerade, and a place in
//! other firewalls' rules.

mod firewall;
mod network;
mod overlap;
mod table;
mod uplink;

pub use network::{Config, Foundation, NodeNetwork};
pub use overlap::check_overlap;

pub(crate) use firewall::withdraw;
