//! Load balancers for bare metal: addresses of the LAN for Services of type `LoadBalancer`.
//!
//! The kinds, annotations and rules are MetalLB's (<https://metallb.io/>), so that what users have works as it is. The
//! [`Allocator`] gives addresses of pools to Services (on the server); the [`Speaker`] lets this node answer for them (on
//! each node).
//!
//! Nothing but the kernel answers for an address: it is an address of the node, with a scope that keeps it from ever being
//! a source. So clients reach it while no process of knarr runs.

mod allocation;
mod allocator;
mod announcement;
mod claim;
mod holding;
mod metallb;
mod pool;
mod presence;
mod speaker;

pub use allocation::{Decision, Taken, decide};
pub use allocator::Allocator;
pub use announcement::{Announcement, Seen, announcements};
pub use claim::{Probed, announce, probe};
pub(crate) use holding::strict_links;
pub use holding::{Holding, Place};
pub use metallb::{IPAddressPool, L2Advertisement};
pub use pool::Pools;
pub use speaker::Speaker;
