//! A pod's specification as the runtime wants it: sandboxes and containers. Pure, given what was looked up before.

mod container;
mod dns;
mod environment;
mod resources;
mod sandbox;
mod security;

pub(crate) use container::{ImageUser, Mounts, container};
pub(crate) use dns::{Resolver, hosts_file};
pub(crate) use environment::{Sources, environment};
pub(crate) use resources::Capacity;
pub(crate) use sandbox::{Surroundings, hostname, sandbox};
