//! What a Deployment's spec asks for, with its percentages worked out.

use k8s_openapi::api::apps::v1::{Deployment, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The numbers that a rollout obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) replicas: i32,
    /// Whether old and new pods may run side by side.
    pub(super) rolling: bool,
    /// Pods above `replicas` that a rollout may use.
    pub(super) max_surge: i32,
    /// Pods below `replicas` that a rollout may cost.
    pub(super) max_unavailable: i32,
    pub(super) min_ready_seconds: i32,
    pub(super) paused: bool,
    /// `None`: progress has no deadline.
    pub(super) progress_deadline: Option<i32>,
    /// `None`: all old ReplicaSets are kept.
    pub(super) history_limit: Option<i32>,
}

impl Wanted {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let strategy = spec.strategy.unwrap_or_default();
        let rolling = strategy.type_.as_deref() != Some("Recreate");
        let (max_surge, max_unavailable) =
            if rolling { bounds(strategy.rolling_update.as_ref(), replicas) } else { (0, 0) };
        let limited = |number: Option<i32>| number.filter(|number| *number != i32::MAX);
        Self {
            replicas,
            rolling,
            max_surge,
            max_unavailable: max_unavailable.min(replicas),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
            paused: spec.paused.unwrap_or_default(),
            progress_deadline: limited(spec.progress_deadline_seconds),
            history_limit: limited(spec.revision_history_limit),
        }
    }

    /// All pods that may exist at a time.
    pub(super) fn max_replicas(&self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }

    /// Pods that must stay available.
    pub(super) fn min_available(&self) -> i32 {
        if self.rolling { self.replicas.saturating_sub(self.max_unavailable) } else { 0 }
    }
}

/// Surge is rounded up, unavailability down; when both come out as zero, one pod may be unavailable, since the rollout
/// could not move otherwise.
fn bounds(rolling: Option<&RollingUpdateDeployment>, replicas: i32) -> (i32, i32) {
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), replicas, true);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), replicas, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or_default();
            let hundredfold = percent.saturating_mul(i64::from(total));
            let rounded = if round_up { hundredfold.saturating_add(99) } else { hundredfold } / 100;
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_in_favour_of_progress() {
        let percent = |text: &str| Some(IntOrString::String(text.into()));
        let cases = [
            (percent("25%"), percent("25%"), 10, (3, 2)),
            (percent("0%"), percent("1%"), 2, (0, 1)),
            (percent("1%"), percent("25%"), 2, (1, 0)),
            (Some(IntOrString::Int(5)), Some(IntOrString::Int(0)), 3, (5, 0)),
            (None, None, 3, (0, 1)),
            (percent("nonsense"), percent("100%"), 4, (0, 4)),
        ];
        for (max_surge, max_unavailable, replicas, expected) in cases {
            let rolling = RollingUpdateDeployment { max_surge, max_unavailable };
            assert_eq!(bounds(Some(&rolling), replicas), expected, "{rolling:?} of {replicas}");
        }
    }
}
