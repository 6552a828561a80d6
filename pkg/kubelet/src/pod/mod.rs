//! Pods: one actor per pod, whose every decision is a pure function of specification, state and clock.

pub(crate) mod actor;
mod admit;
pub(crate) mod config;
pub(crate) mod crash;
pub(crate) mod dispatch;
#[cfg(test)]
pub(crate) mod examples;
mod expand;
pub(crate) mod fields;
pub(crate) mod names;
mod plan;
mod probes;
mod publish;
mod report;
pub(crate) mod shared;
pub(crate) mod spec;
mod state;
mod status;
mod work;

pub(crate) use report::Report;
pub(crate) use spec::PodExt;
