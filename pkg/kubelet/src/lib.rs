//! The node agent: drives containerd over CRI, runs probes, mounts volumes, serves logs and exec.
//!
//! [`Kubelet`] wires the parts. A pod is an actor (`pod::actor`) that asks a pure function (`pod::plan`) what to do next;
//! containerd is the truth for what runs, and outlives us.

pub mod cgroup;
mod config;
pub mod containerd;
pub mod cri;
mod image;
mod kubelet;
pub mod node;
mod objects;
mod pod;
mod probe;
mod proto;
pub mod server;
mod upkeep;
mod volume;

pub use config::Config;
pub use kubelet::{Api, Error, Kubelet};
pub use volume::unmount_below;
