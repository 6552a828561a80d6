//! The Kubernetes API server: filter chain, generic registry, watch cache, discovery, admission, authentication, authorization.

pub mod admission;
pub mod allocate;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod cache;
pub mod registry;
pub mod request;
pub mod subresource;
