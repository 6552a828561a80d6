//! How the parts of a process live and end together.
//!
//! Every long-running task is a *component* of a [`Components`] group. The first component that ends, for
//! whatever reason, starts an orderly drain of all others: nothing dies silently, and the service supervisor restarts
//! the process. Pods, flows and names do not depend on any component being alive.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tells a component that it should finish. Cloning is cheap; every clone sees the same signal.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody who holds a clone to finish. Safe to repeat.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes once the drain has started.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Runs `work` until it ends or the drain starts; `None` means that the drain came first.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }

    /// A signal that starts with this one, and that can be started alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

/// Why a group of components ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A component returned an error.
    #[error("{component}: {cause}")]
    Failed {
        /// The name it was spawned with.
        component: &'static str,
        /// Its error, with all causes.
        cause: String,
    },
    /// A component panicked.
    #[error("{component} panicked: {cause}")]
    Panicked {
        /// The name it was spawned with.
        component: &'static str,
        /// What the panic said.
        cause: String,
    },
    /// A component returned although nobody had asked it to.
    #[error("{0} ended unexpectedly")]
    Unexpected(&'static str),
    /// The drain came before what was waited for.
    #[error("it was asked to end before it had started")]
    Asked,
    /// Components were still running when the drain's deadline passed.
    #[error("still running after the drain's deadline: {0}")]
    Stuck(String),
}

/// The components of one process.
#[derive(Debug, Default)]
pub struct Components {
    shutdown: Shutdown,
    running: JoinSet<(&'static str, Result<(), String>)>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Components {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The signal that all components of this group share.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Starts a component. It must return soon after the group's [`Shutdown`] has started, and not before.
    pub fn spawn<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        component: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = self.running.spawn(async move { (name, component.await.map_err(|error| format!("{error:#}"))) });
        self.names.insert(task.id(), name);
    }

    /// Waits for something that depends on components that run already.
    ///
    /// # Errors
    /// When the drain starts or a component ends first: waiting on would be in vain.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            // What components say from now on is for `run` to judge.
            () = self.shutdown.wait() => Err(Ended::Asked),
            Some(ended) = self.running.join_next_with_id() => {
                Err(self.judge(ended).map_or_else(|ended| ended, Ended::Unexpected))
            }
        }
    }

    /// Waits until the drain starts or a component ends, drains all others within `deadline`, and says what went wrong
    /// first; `Ok` means an orderly end that was asked for.
    ///
    /// # Errors
    /// The first component that failed, panicked, or ended without being asked, or those that ignored the drain.
    pub async fn run(mut self, deadline: Duration) -> Result<(), Ended> {
        let mut outcome = Ok(());
        tokio::select! {
            // A component that heard of the drain before us has not ended unexpectedly.
            biased;
            () = self.shutdown.wait() => {}
            Some(ended) = self.running.join_next_with_id() => {
                outcome = self.judge(ended).and_then(|name| Err(Ended::Unexpected(name)));
            }
        }
        self.shutdown.start();
        let drained = tokio::time::timeout(deadline, async {
            while let Some(ended) = self.running.join_next_with_id().await {
                let judged = self.judge(ended).map(|_| ());
                if outcome.is_ok() {
                    outcome = judged;
                }
            }
        })
        .await;
        if drained.is_err() && outcome.is_ok() {
            let mut left: Vec<_> = self.names.into_values().collect();
            left.sort_unstable();
            outcome = Err(Ended::Stuck(left.join(", ")));
        }
        outcome
    }

    #[allow(clippy::type_complexity, reason = "the shape is tokio's")]
    fn judge(
        &mut self,
        ended: Result<(tokio::task::Id, (&'static str, Result<(), String>)), tokio::task::JoinError>,
    ) -> Result<&'static str, Ended> {
        match ended {
            Ok((id, (name, result))) => {
                self.names.remove(&id);
                result.map(|()| name).map_err(|cause| Ended::Failed { component: name, cause })
            }
            Err(error) => {
                let component = self.names.remove(&error.id()).unwrap_or("a component");
                Err(Ended::Panicked { component, cause: error.to_string() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until(shutdown: Shutdown) -> Result<(), String> {
        shutdown.wait().await;
        Ok(())
    }

    #[tokio::test]
    async fn one_failure_drains_the_others_and_is_named() {
        let mut group = Components::new();
        group.spawn("patient", until(group.shutdown()));
        group.spawn("broken", async { Err("disk on fire") });
        let ended = group.run(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(ended.to_string(), "broken: disk on fire");
    }

    #[tokio::test]
    async fn waiting_for_the_dead_ends() {
        let mut group = Components::new();
        group.spawn("patient", until(group.shutdown()));
        assert_eq!(group.meanwhile(async { 7 }).await.unwrap(), 7);
        group.spawn("broken", async { Err("disk on fire") });
        let ended = group.meanwhile(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(ended.to_string(), "broken: disk on fire");
    }

    #[tokio::test]
    async fn who_is_asked_to_end_while_it_starts_ends_in_order() {
        let mut group = Components::new();
        group.spawn("patient", until(group.shutdown()));
        group.shutdown().start();
        let ended = group.meanwhile(std::future::pending::<()>()).await.unwrap_err();
        assert!(matches!(ended, Ended::Asked), "{ended}");
        group.run(Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_named() {
        let mut group = Components::new();
        group.spawn("patient", until(group.shutdown()));
        group.spawn("clumsy", async {
            if std::hint::black_box(true) {
                panic!("dropped it");
            }
            Ok::<(), String>(())
        });
        let ended = group.run(Duration::from_secs(5)).await.unwrap_err();
        assert!(ended.to_string().starts_with("clumsy panicked"), "{ended}");
    }

    #[tokio::test]
    async fn a_drain_that_was_asked_for_is_no_error() {
        let mut group = Components::new();
        group.spawn("patient", until(group.shutdown()));
        group.shutdown().start();
        group.run(Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn an_early_end_is_an_error() {
        let mut group = Components::new();
        group.spawn("patient", until(group.shutdown()));
        group.spawn("hasty", async { Ok::<(), String>(()) });
        let ended = group.run(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(ended.to_string(), "hasty ended unexpectedly");
    }

    #[tokio::test(start_paused = true)]
    async fn who_ignores_the_drain_is_named() {
        let mut group = Components::new();
        group.spawn("deaf", std::future::pending::<Result<(), String>>());
        group.shutdown().start();
        let ended = group.run(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(ended.to_string(), "still running after the drain's deadline: deaf");
    }
}
