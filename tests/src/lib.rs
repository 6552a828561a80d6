//! What the black-box tests share: labs, clients, and commands that say what went wrong.
//!
//! Nothing here uses a crate of knarr's own: the tests see the binary as users do.

pub mod api;
pub mod command;
pub mod dns;
pub mod etcd;
pub mod figures;
pub mod lab;
pub mod linearizability;
pub mod netns;
pub mod small_disk;
pub mod space;
pub mod suite;
pub mod vm;
pub mod wait;
pub mod web;
