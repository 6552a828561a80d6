//! What others ask of the writer, and where that waits.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::index::Covered;
use crate::log::format::Place;
use crate::model::{Outcome, Revision, Txn};

/// Where the answer to a request goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer can be asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// Decide and write a transaction.
    Write(Txn, Reply<Outcome>),
    /// Raise the compaction floor.
    Compact(Revision, Reply<()>),
    /// Write these live records again. They may have been overwritten since.
    Move(Vec<(Bytes, Place)>, Reply<()>),
    /// Make everything durable.
    Sync(Reply<()>),
    /// Make everything durable and fix the index at this point.
    Freeze(Reply<Covered>),
    /// Say in the log that it is complete, and end.
    Close(Reply<()>),
    /// End.
    Abandon,
}

/// Where requests wait for the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: Vec<Request>,
    closed: bool,
}

impl Queue {
    /// A request after the end of the writer is dropped, and with it its reply.
    pub(crate) fn push(&self, request: Request) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.closed {
            waiting.requests.push(request);
            self.arrived.notify_one();
        }
    }

    /// Drops what waits and what is still to come.
    pub(crate) fn close(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Waiting { requests: Vec::new(), closed: true };
    }

    /// Everything that waits; nothing if nothing came until `deadline`.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Vec<Request> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.requests.is_empty() {
            let Some(deadline) = deadline else {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut waiting.requests)
    }
}
