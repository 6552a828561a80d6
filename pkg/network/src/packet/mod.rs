//! Frames of ARP (RFC 826), and the socket that sends and receives them on one link.

mod arp;
mod socket;

pub use arp::{Arp, Operation};
pub use socket::ArpSocket;
