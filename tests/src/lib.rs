//! What the black-box tests share: labs, and commands that say what went wrong.
//!
//! Nothing here uses a crate of knarr's own: the tests see the binary as users do.

pub mod command;
pub mod lab;
pub mod wait;
