//! Readiness as an event: a process is ready once every task that it waits for has been dropped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Collects what a process still waits for. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeSet<String>>>,
    changed: Arc<watch::Sender<()>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { pending: Arc::default(), changed: Arc::new(watch::channel(()).0) }
    }
}

impl Readiness {
    /// Ready at once, until a task is registered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers something to wait for; dropping the returned task marks it done.
    #[must_use]
    pub fn task(&self, name: impl Into<String>) -> Pending {
        let name = name.into();
        self.lock().insert(name.clone());
        Pending { name, readiness: self.clone() }
    }

    /// What is still awaited, in alphabetical order. Empty means ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    /// Completes when nothing is awaited any more.
    pub async fn ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.lock().is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that a process waits for. Drop it when it is done.
#[derive(Debug)]
pub struct Pending {
    name: String,
    readiness: Readiness,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.readiness.lock().remove(&self.name);
        self.readiness.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_the_last_task_is_dropped() {
        let readiness = Readiness::new();
        let (store, node) = (readiness.task("store"), readiness.task("node"));
        assert_eq!(readiness.pending(), ["node", "store"]);
        let waiter = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        drop(store);
        assert_eq!(readiness.pending(), ["node"]);
        drop(node);
        waiter.await.unwrap();
    }
}
