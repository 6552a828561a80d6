//! What this crate does to a kernel, between namespaces that each test makes for itself. Needs root.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that meets the unexpected should panic")]

mod cni;
mod lab;
mod lb;
mod node;
mod service;
