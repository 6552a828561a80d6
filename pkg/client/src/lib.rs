//! Clients of the API: transports, shared caches, work queues, the controller pipeline, the event recorder.
//!
//! A component reads through [`cache::Caches`] (one watch per kind, shared by everybody in the process) and writes through
//! a `kube::Client` of its own identity from [`transport`]. After a write it waits until the cache has seen the write's
//! revision ([`cache::Cache::seen`]): that barrier is the one way in which knarr's controllers read their own writes. There
//! are no expectations to keep, and a reconcile never plans on a state older than its own last action.

pub mod cache;
pub mod controller;
pub mod events;
pub mod queue;
pub mod transport;

pub use cache::{Cache, Caches, Change, Changes, Index, Key};
pub use controller::{Action, Controller};
pub use events::Recorder;
