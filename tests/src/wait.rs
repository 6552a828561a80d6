//! Waiting for a condition, with a deadline and a message that says what was seen.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Calls `check` until it gives a value; what it gives otherwise is shown when the deadline passes.
///
/// # Errors
/// When `deadline` passes first.
pub fn until<T, E: Display>(what: &str, deadline: Duration, mut check: impl FnMut() -> Result<T, E>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= end => bail!("{what}: not within {deadline:?}; last seen: {seen}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}
