//! The node's object in the API: registered, kept current, and its lease.
//! <https://kubernetes.io/docs/reference/node/node-status/>

mod conditions;
pub(crate) mod facts;
mod lease;
mod name;
mod object;
mod sync;

pub use name::name;

pub(crate) use lease::renew;
pub(crate) use sync::Sync;
