//! A watch, event by event.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Connection, LIMIT};

/// A running watch. Dropping it ends it.
pub struct Watch {
    connection: Connection,
    received: Vec<u8>,
}

impl Watch {
    pub(super) fn new(mut connection: Connection, path: &str) -> Result<Self> {
        connection.send("GET", path, &[], b"")?;
        let head = connection.head(Instant::now() + LIMIT)?;
        if head.status != 200 || head.header("Transfer-Encoding").is_none() {
            bail!("watch {path}: {head} {:?}", head.headers);
        }
        Ok(Self { connection, received: Vec::new() })
    }

    /// The next event.
    ///
    /// # Errors
    /// When none comes in time, or the server ends the stream.
    pub fn next(&mut self, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line).with_context(|| String::from_utf8_lossy(&line).into_owned());
            }
            match self.connection.chunk(deadline)? {
                Some(chunk) => self.received.extend(chunk),
                None => bail!("the server ended the watch"),
            }
        }
    }

    /// The first event of which `wanted` says so; what came before is dropped.
    ///
    /// # Errors
    /// When it does not come in time; with the number of the other events.
    pub fn find(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + limit;
        let mut others = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.next(left).with_context(|| format!("not among {others} events"))?;
            if wanted(&event) {
                return Ok(event);
            }
            others += 1;
        }
    }
}
