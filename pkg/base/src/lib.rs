//! Component life cycle, drain, readiness, backoff, clocks and telemetry; knows nothing of Kubernetes.

pub mod backoff;
pub mod clock;
pub mod lifecycle;
pub mod readiness;
pub mod telemetry;

pub use lifecycle::{Components, Shutdown};
