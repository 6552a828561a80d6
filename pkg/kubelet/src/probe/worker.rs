//! A probe as a task: it asks in its rhythm, and tells its pod when the verdict changes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;
use tokio_util::task::AbortOnDropHandle;

use super::check::{self, Target};
use crate::pod::Report;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What a probe has found of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The container's id.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) well: bool,
}

/// Counts consecutive results up to the thresholds.
#[derive(Debug, Default)]
struct Tally {
    last: Option<bool>,
    run: i32,
    verdict: Option<bool>,
}

impl Tally {
    /// The verdict, if this result changes it.
    fn add(&mut self, well: bool, probe: &Probe) -> Option<bool> {
        self.run = if self.last == Some(well) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(well);
        let threshold = if well { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        if self.run < threshold || self.verdict == Some(well) {
            return None;
        }
        self.verdict = Some(well);
        Some(well)
    }
}

/// Probes until the verdict is final (a startup probe's, a failure that kills), nobody listens, or the handle is dropped.
pub(crate) fn spawn(
    kind: Kind,
    target: Target,
    probe: Probe,
    started: Timestamp,
    report: Report,
    tell: impl Fn(Verdict) -> bool + Send + Sync + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let seconds =
            |value: Option<i32>, usual: u64| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(usual);
        let delay = Duration::from_secs(seconds(probe.initial_delay_seconds, 0));
        let passed = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default();
        tokio::time::sleep(delay.saturating_sub(passed)).await;
        let mut rhythm = tokio::time::interval(Duration::from_secs(seconds(probe.period_seconds, 10).max(1)));
        rhythm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tally = Tally::default();
        loop {
            rhythm.tick().await;
            let outcome = check::probe(&target, &probe).await;
            if let Err(message) = &outcome {
                report.warning("Unhealthy", &format!("{} probe failed: {message}", kind.as_str()));
            }
            let Some(well) = tally.add(outcome.is_ok(), &probe) else { continue };
            let verdict = Verdict { id: target.id.clone(), kind, well };
            let done = match kind {
                Kind::Startup => true,
                Kind::Liveness => !well,
                Kind::Readiness => false,
            };
            if !tell(verdict) || done {
                return;
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_make_a_verdict() {
        let probe = Probe { failure_threshold: Some(2), success_threshold: Some(2), ..Probe::default() };
        let mut tally = Tally::default();
        let results = [true, true, true, false, true, false, false, false, true, true];
        let verdicts: Vec<Option<bool>> = results.iter().map(|well| tally.add(*well, &probe)).collect();
        let (up, down) = (Some(true), Some(false));
        assert_eq!(verdicts, [None, up, None, None, None, None, down, None, None, up]);
    }
}
