//! The node agent: drives containerd over CRI, runs probes, mounts volumes, serves logs and exec.

pub mod cgroup;
pub mod containerd;
pub mod cri;
mod image;
mod proto;
pub mod server;
