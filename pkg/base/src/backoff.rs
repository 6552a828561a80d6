//! Exponential back-off with jitter.

use std::time::Duration;

use rand::Rng;

/// Delays that double from `base` up to `cap`. [`Backoff::delay`] adds up to a fifth of jitter so that many who failed
/// together do not return together.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `base` and never exceeds `cap` (before jitter).
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// How long to wait after one more failure.
    pub fn delay(&mut self) -> Duration {
        let plain = self.peek();
        self.failures = self.failures.saturating_add(1);
        plain.mul_f64(rand::rng().random_range(1.0..1.2))
    }

    /// The coming delay without jitter.
    #[must_use]
    pub fn peek(&self) -> Duration {
        self.base.saturating_mul(2u32.saturating_pow(self.failures)).min(self.cap)
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push(backoff.peek().as_secs());
            let jittered = backoff.delay();
            assert!(jittered.as_secs_f64() <= 300.0 * 1.2);
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.peek(), Duration::from_secs(10));
    }

    #[test]
    fn survives_any_number_of_failures() {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        for _ in 0..100 {
            backoff.delay();
        }
        assert_eq!(backoff.peek(), Duration::from_secs(1));
    }
}
