//! `apps`: controllers of pods.

mod daemonset;
mod deployment;
mod replicaset;
mod revision;
mod statefulset;

pub(super) use daemonset::DAEMON_SET;
pub(super) use deployment::DEPLOYMENT;
pub(super) use replicaset::REPLICA_SET;
pub(super) use revision::CONTROLLER_REVISION;
pub(super) use statefulset::STATEFUL_SET;
