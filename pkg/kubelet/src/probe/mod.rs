//! Probes and lifecycle hooks: asking a container how it is, and telling it what happens.
//! <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>

mod check;
mod http;
mod worker;

pub(crate) use check::{Target, hook};
pub(crate) use worker::{Kind, Verdict, spawn};
