//! How far the feed has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use knarr_api::Status;
use knarr_api::status::{Cause, Result};
use knarr_store::{Revision, Shared};
use tokio::sync::watch;

use crate::registry::store_status;

/// How long a read waits for a revision that the server has not seen yet, as upstream's `blockTimeout`.
const PATIENCE: Duration = Duration::from_secs(3);

/// Every event up to a revision has been applied to the caches and put into the watchers' queues.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    applied: watch::Receiver<Revision>,
    refilled: Arc<AtomicBool>,
}

impl Progress {
    pub(crate) const fn new(applied: watch::Receiver<Revision>, refilled: Arc<AtomicBool>) -> Self {
        Self { applied, refilled }
    }

    /// Whether the rings have what happened before the start: until then a resumed watcher may have it still to come.
    pub(crate) fn is_refilled(&self) -> bool {
        self.refilled.load(Ordering::Acquire)
    }

    /// The revision.
    pub(crate) fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Whether there will be more.
    pub(crate) fn is_fed(&self) -> bool {
        self.applied.has_changed().is_ok()
    }

    /// Waits until everything that the store would show now has been applied.
    pub(crate) async fn current(&self, store: &Shared) -> Result<()> {
        let newest = store.newest().await.map_err(store_status)?;
        self.reach(newest).await
    }

    async fn reach(&self, revision: Revision) -> Result<()> {
        if self.applied() >= revision {
            return Ok(());
        }
        let stopped = |_| Status::unavailable("the watch cache has stopped");
        self.applied.clone().wait_for(|applied| *applied >= revision).await.map(|_| ()).map_err(stopped)
    }

    /// Waits a moment for a revision that a client has named.
    ///
    /// # Errors
    /// 504 with the cause `ResourceVersionTooLarge` when it does not come.
    pub(crate) async fn at_least(&self, revision: Revision) -> Result<()> {
        match tokio::time::timeout(PATIENCE, self.reach(revision)).await {
            Ok(reached) => reached,
            Err(_) => Err(too_large(revision, self.applied())),
        }
    }
}

/// `NewTooLargeResourceVersionError` of `k8s.io/apiserver/pkg/storage/errors.go`.
fn too_large(asked: Revision, current: Revision) -> Status {
    let text = format!("Too large resource version: {asked}, current: {current}");
    let mut status = Status::timeout(text).retry_after(1);
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    status.details.get_or_insert_default().causes.push(cause);
    status
}
