//! The core group, without pods.

mod claims;
mod data;
mod endpoints;
mod event;
mod limits;
mod namespace;
mod node;
mod quota;
mod replication;
mod service;
mod service_check;

pub(super) use claims::{CLAIM, CLAIM_SPEC, VOLUME, check_claim_spec};
pub(super) use data::{CONFIG_MAP, SECRET};
pub(super) use endpoints::{ENDPOINTS, check_address};
pub(super) use event::{EVENT, NEW_EVENT};
pub(super) use limits::LIMIT_RANGE;
pub(super) use namespace::{NAMESPACE, SERVICE_ACCOUNT};
pub(super) use node::NODE;
pub(super) use quota::QUOTA;
pub(super) use replication::{CONTROLLER, POD_TEMPLATE};
pub(super) use service::SERVICE;
