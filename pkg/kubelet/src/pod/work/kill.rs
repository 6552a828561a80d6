//! Ending a container: preStop, then its stop signal, then SIGKILL.

use std::time::{Duration, Instant};

use crate::cri::Error;
use crate::pod::Report;
use crate::probe::{Target, hook};

/// Even a container without any time left gets this long between its stop signal and SIGKILL, as upstream.
const LEAST: Duration = Duration::from_secs(2);

/// Ends a container within `grace` seconds and returns when it has ended. One that is gone already is fine.
pub(in crate::pod) async fn kill(target: &Target, report: &Report, grace: i64) -> Result<(), Error> {
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    let begin = Instant::now();
    let lifecycle = target.container.lifecycle.as_ref();
    if let Some(handler) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        && !grace.is_zero()
        && let Ok(Err(message)) = tokio::time::timeout(grace, hook(target, handler)).await
    {
        tracing::debug!("preStop hook of {}: {message}", target.container.name);
        report.warning("FailedPreStopHook", "PreStopHook failed");
    }
    let left = grace.saturating_sub(begin.elapsed()).max(LEAST);
    match target.runtime.stop_container(&target.id, left).await {
        Err(error) if error.not_found() => Ok(()),
        outcome => outcome,
    }
}
