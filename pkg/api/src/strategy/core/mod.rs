//! The core group, without pods.

mod claims;
mod data;
mod endpoints;
mod limits;
mod namespace;
mod node;
mod replication;
mod service;

pub(super) use claims::{CLAIM, CLAIM_SPEC, VOLUME};
pub(super) use data::{CONFIG_MAP, SECRET};
pub(super) use endpoints::{ENDPOINTS, EVENT};
pub(super) use limits::{LIMIT_RANGE, QUOTA};
pub(super) use namespace::NAMESPACE;
pub(super) use node::NODE;
pub(super) use replication::{CONTROLLER, POD_TEMPLATE};
pub(super) use service::SERVICE;
