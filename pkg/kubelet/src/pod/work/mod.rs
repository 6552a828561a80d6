//! Carrying out the steps of a plan. Each function does one step, and is told everything it needs: it reads no state of
//! the actor, so that it can run beside it.

pub(super) mod finish;
pub(super) mod kill;
pub(super) mod mounts;
pub(super) mod observe;
pub(super) mod sandbox;
pub(super) mod start;
pub(super) mod volumes;
