//! The Kubernetes API server: filter chain, generic registry, watch cache, discovery, admission, authentication, authorization.

pub mod admission;
pub mod allocate;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod cache;
pub mod encryption;
mod filter;
mod metrics;
mod pages;
pub mod registry;
pub mod request;
pub mod reviews;
mod serve;
mod server;
pub mod subresource;
#[cfg(test)]
mod testing;

pub use pages::{MAX_ORDER, Order, Pages};
pub use server::{Access, ApiServer, Config, Error};
