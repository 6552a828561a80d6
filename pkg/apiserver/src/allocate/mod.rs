//! Cluster IPs and node ports of Services.
//!
//! What a Service holds is written in the same transaction as the Service: an `IPAddress` object per address, a key per
//! port. Two Services can so never hold the same, and nothing can leak: no allocation exists without the write that wanted
//! it. Which address or port a Service gets when it asks for any follows upstream's bands (KEP-3070, KEP-3668): the lower
//! part of a range is left to those who ask for a certain one.
//!
//! ```text
//! POST Service (type NodePort)   ->  guard  no IPAddress 10.43.7.12, no node port 31234, no such Service
//!                                    put    all three, one revision
//! DELETE Service                 ->  delete all three, one revision
//! ```

mod address;
mod families;
mod inherit;
mod port;
mod range;
mod service;

pub use range::{AddressRange, PortRange, Unparsable};
pub use service::ServiceHook;
