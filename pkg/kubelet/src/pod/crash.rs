//! CrashLoopBackOff and ImagePullBackOff: 10 s, doubled up to 5 min, forgotten after 10 min without a crash.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy>

use jiff::{SignedDuration, Timestamp};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const MOST: SignedDuration = SignedDuration::from_mins(5);

/// How the restarts of one container are slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrashLoop {
    pub(crate) delay: SignedDuration,
    updated: Timestamp,
}

impl CrashLoop {
    /// When a container that ended at `finished` may start; `None` when it need not wait.
    pub(crate) fn until(known: Option<&Self>, finished: Timestamp) -> Option<Timestamp> {
        let known = known.filter(|known| !known.expired(finished))?;
        Some(finished + known.delay)
    }

    /// What is remembered once a container that ended at `finished` starts again at `now`.
    pub(crate) fn next(known: Option<&Self>, finished: Timestamp, now: Timestamp) -> Self {
        let delay = match known.filter(|known| !known.expired(finished)) {
            Some(known) => MOST.min(known.delay * 2),
            None => FIRST,
        };
        Self { delay, updated: now }
    }

    /// Whether it counts for nothing any more.
    pub(crate) fn expired(&self, at: Timestamp) -> bool {
        at.duration_since(self.updated) > MOST * 2
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
pub(crate) fn go(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_are_forgotten() {
        let mut now = Timestamp::from_second(1_000_000).unwrap();
        let mut known = None;
        let mut delays = Vec::new();
        for _ in 0..8 {
            let finished = now;
            let until = CrashLoop::until(known.as_ref(), finished).unwrap_or(finished);
            delays.push(until.duration_since(finished).as_secs());
            now = until;
            known = Some(CrashLoop::next(known.as_ref(), finished, now));
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        let much_later = now + SignedDuration::from_secs(601);
        assert_eq!(CrashLoop::until(known.as_ref(), much_later), None);
    }

    #[test]
    fn durations_look_like_upstreams() {
        for (seconds, text) in [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")] {
            assert_eq!(go(SignedDuration::from_secs(seconds)), text);
        }
    }
}
