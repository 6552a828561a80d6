//! `networking.k8s.io`.

mod address;
mod ingress;
mod policy;

pub(super) use address::{IP_ADDRESS, SERVICE_CIDR};
pub(super) use ingress::{INGRESS, INGRESS_CLASS, domain_path};
pub(super) use policy::NETWORK_POLICY;
