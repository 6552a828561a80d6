//! The service proxy: what `kube-proxy --proxy-mode=nftables` does, in knarr's own tables.
//!
//! A Service becomes a few chains, and elements of maps that lead to them; a packet costs one look into a map however many
//! Services there are, and a change of one Service touches its own chains and elements only. What should be there is a
//! pure function of the Service and its EndpointSlices ([`plan`]); [`Proxy`] compares and applies.
//!
//! Names of chains and maps are those of kube-proxy, so that what is known about reading its tables holds here. Different on
//! purpose is who is masqueraded: only who would not get the answer otherwise. Traffic from outside to an endpoint on this
//! node keeps its source address under the `Cluster` policy too, since the answer passes through this node anyway.

mod base;
mod endpoints;
mod health;
mod names;
mod plan;
mod proxy;
mod rules;
mod stale;

pub use endpoints::{Endpoint, Locality};
pub(crate) use plan::{FROM_POOL, balancer_ips, external_local};
pub use plan::{Frontend, Plan, Transport, plan};
pub use proxy::Proxy;
pub use rules::{Config, Rules};
