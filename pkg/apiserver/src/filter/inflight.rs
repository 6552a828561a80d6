//! How many requests are served at once: upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`.

use std::sync::Arc;

use knarr_api::Status;
use knarr_api::status::Result;
use knarr_api::user::UserInfo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::request::RequestInfo;

/// Slots for requests that read and for requests that may change something.
#[derive(Debug)]
pub(crate) struct InFlight {
    reading: Slots,
    mutating: Slots,
}

#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    all: usize,
}

impl Slots {
    fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    fn taken(&self) -> usize {
        self.all - self.free.available_permits()
    }
}

impl InFlight {
    pub(crate) fn new(reading: usize, mutating: usize) -> Self {
        Self { reading: Slots::new(reading), mutating: Slots::new(mutating) }
    }

    /// Takes a slot until the answer stands. Long-running requests need none, and `system:masters` is never refused.
    pub(crate) fn enter(&self, info: &RequestInfo, user: &UserInfo) -> Result<Option<OwnedSemaphorePermit>> {
        if info.is_long_running() {
            return Ok(None);
        }
        let slots = if info.is_mutating() { &self.mutating } else { &self.reading };
        match slots.free.clone().try_acquire_owned() {
            Ok(slot) => Ok(Some(slot)),
            Err(_) if user.is_in("system:masters") => Ok(None),
            Err(_) => Err(Status::too_many_requests("Too many requests, please try again later.", 1)),
        }
    }

    /// Taken slots: reading and mutating.
    pub(crate) fn taken(&self) -> (usize, usize) {
        (self.reading.taken(), self.mutating.taken())
    }
}
