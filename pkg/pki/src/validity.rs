//! From when until when a certificate holds, on machines whose clock may be wrong.
//!
//! A machine without a battery starts in 1970, one with a broken one anywhere. Three rules let a cluster that was born or
//! started under a wrong clock work once the clock is set, without anybody's help:
//!
//! * an authority holds from the epoch on, so that it is never "not yet valid";
//! * nothing ends earlier than it would when made on the day of [`RELEASED`], so that an authority made in "1970" has
//!   not ended when the clock jumps forward;
//! * a leaf that is not yet valid is due for renewal just as one that is nearly over ([`Window::due`]).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-11-01T00:00:00Z: no clock that shows an earlier time is right.
pub(crate) const RELEASED: u64 = 1_793_491_200;

const HOUR: u64 = 3600;
const YEAR: u64 = 365 * 24 * HOUR;

/// Seconds since the epoch by the wall clock; a clock before the epoch counts as the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A span of wall-clock time, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

impl Window {
    /// Ten years, from the epoch on.
    pub(crate) fn authority(now: u64) -> Self {
        Self { not_before: 0, not_after: now.max(RELEASED) + 10 * YEAR }
    }

    /// One year, back-dated by an hour for clients whose clock is slow.
    pub(crate) fn leaf(now: u64) -> Self {
        Self::lasting(now, Duration::from_secs(YEAR))
    }

    /// `duration`, back-dated by an hour.
    pub(crate) fn lasting(now: u64, duration: Duration) -> Self {
        Self { not_before: now.saturating_sub(HOUR), not_after: now.max(RELEASED) + duration.as_secs() }
    }

    /// Ends no later than `other`.
    pub(crate) fn within(self, other: Self) -> Self {
        Self { not_after: self.not_after.min(other.not_after), ..self }
    }

    /// Whether `now` lies in the window.
    #[must_use]
    pub fn contains(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether a certificate should be replaced: two thirds of its time are over, or it has not begun.
    #[must_use]
    pub fn due(&self, now: u64) -> bool {
        let renewal = self.not_before + self.not_after.saturating_sub(self.not_before) / 3 * 2;
        now < self.not_before || now >= renewal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_at_birth_recovers() {
        let later = RELEASED + YEAR / 2;
        let authority = Window::authority(1000);
        assert!(authority.contains(1000) && authority.contains(later));
        let leaf = Window::leaf(1000);
        assert!(leaf.contains(1000) && leaf.contains(later) && leaf.due(later), "{leaf:?}");
        // And the other way: made in the future, then the clock is set back.
        assert!(Window::leaf(later + 20 * YEAR).due(later));
    }

    #[test]
    fn renewal_comes_at_two_thirds() {
        let leaf = Window::leaf(RELEASED + YEAR);
        let born = RELEASED + YEAR;
        for (days, due) in [(0, false), (240, false), (250, true), (400, true)] {
            assert_eq!(leaf.due(born + days * 24 * HOUR), due, "{days}");
        }
    }
}
