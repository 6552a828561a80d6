//! The cluster's controllers: a pure plan and a small apply each.
//!
//! Every controller is level-triggered: it is woken by changes of shared caches, reads what is there, plans by a pure
//! function, writes under its own identity (`system:serviceaccount:kube-system:NAME`, as upstream's
//! `--use-service-account-credentials`), and waits until the caches show its writes before it plans again.

mod deployment;
mod deps;
mod disruption;
mod endpoints;
mod endpointslice;
mod error;
mod gc;
mod inventory;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod owners;
mod per_namespace;
mod pod_gc;
mod pods;
mod replicaset;

pub use deps::{ClientOf, Deps, Settings};
pub use error::Error;

use std::sync::Arc;

use knarr_base::Components;

use inventory::Inventory;

/// Starts all controllers as components of the process.
pub fn spawn(components: &mut Components, deps: &Deps) {
    let shutdown = components.shutdown();
    let (deps, shutdown) = (|| deps.clone(), || shutdown.clone());
    components.spawn("deployment controller", deployment::run(deps(), shutdown()));
    components.spawn("replica set controller", replicaset::run::<replicaset::ReplicaSet>(deps(), shutdown()));
    components
        .spawn("replication controller", replicaset::run::<replicaset::ReplicationController>(deps(), shutdown()));
    components.spawn("endpoint slice controller", endpointslice::run(deps(), shutdown()));
    components.spawn("endpoints controller", endpoints::run(deps(), shutdown()));
    components.spawn("endpoint slice mirror", endpoints::mirror::run(deps(), shutdown()));
    components.spawn("service account controller", per_namespace::accounts(deps(), shutdown()));
    components.spawn("root CA publisher", per_namespace::root_ca(deps(), shutdown()));
    components.spawn("node address allocator", node_ipam::run(deps(), shutdown()));
    components.spawn("node life cycle controller", node_lifecycle::run(deps(), shutdown()));
    components.spawn("taint eviction controller", node_lifecycle::evict(deps(), shutdown()));
    components.spawn("pod garbage collector", pod_gc::run(deps(), shutdown()));

    let inventory = Arc::new(Inventory::new(deps().caches, deps().client(gc::NAME)));
    let collector = gc::Collector::new(&deps(), inventory.clone());
    let remover = namespace::Remover::new(&deps(), inventory.clone());
    let (collected, removed) = (collector.listener(), remover.listener());
    let listener = move |kind: &_, change: &_| {
        collected(kind, change);
        removed(kind, change);
    };
    components.spawn("inventory of kinds", inventory.run(Box::new(listener), shutdown()));
    components.spawn("garbage collector", collector.run(shutdown()));
    components.spawn("namespace controller", remover.run(shutdown()));
}
