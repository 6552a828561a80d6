//! The scheduler: pure filters and scores, and the bind loop.
//!
//! One task owns the picture of the cluster ([`cluster::Cluster`]). It takes the most important waiting pod, asks every
//! [`filter`] of every node (of a sample, in large clusters), ranks what is left by [`score`], assumes the pod onto the best
//! node, and binds it through the API's `/binding` in the background. The picture is fed by the shared caches' changes, so
//! that no decision costs a list.

mod affinity;
mod bind;
mod cluster;
mod filter;
mod node_selector;
mod pod;
mod queue;
mod relation;
mod run;
mod score;
mod select;
mod spread;
mod taint;

#[cfg(test)]
mod fixtures;

pub use run::{Clients, Scheduler};
