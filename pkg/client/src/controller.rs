//! The pipeline that every controller is: changes of caches become keys, keys become reconciles.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use knarr_base::Shutdown;

use crate::cache::{Cache, Cached, Change, Key};
use crate::queue::Queue;

/// Failures are logged as warnings once they are retried after this.
const WORTH_TELLING: Duration = Duration::from_millis(100);

/// What follows a reconcile that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something changes.
    Done,
    /// Reconcile again after this time, or sooner when something changes.
    After(Duration),
}

/// A controller under construction.
///
/// ```text
/// let mut controller = Controller::new("replicaset");
/// controller.watch(&replica_sets, |change| vec![change.key.clone()]);
/// controller.watch(&pods, move |change| owners_of(change));
/// controller.run(5, shutdown, |key| reconcile(context.clone(), key)).await
/// ```
///
/// A key is reconciled by one worker at a time; a failed one is tried again after a delay that grows per key. Reconciles
/// start when every watched cache is complete. All workers run within the component's own task: a panic ends the component.
pub struct Controller<T = Key> {
    name: &'static str,
    queue: Arc<Queue<T>>,
    synced: Vec<BoxFuture<'static, ()>>,
    sources: FuturesUnordered<BoxFuture<'static, Infallible>>,
}

impl<T> Controller<T>
where
    T: Clone + Eq + Hash + Ord + fmt::Display + Send + Sync + 'static,
{
    /// A controller without sources; `name` is for the log.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, queue: Arc::new(Queue::new()), synced: Vec::new(), sources: FuturesUnordered::new() }
    }

    /// Reconciles the keys that `keys` names for each change of `cache`.
    pub fn watch<K: Cached>(&mut self, cache: &Cache<K>, mut keys: impl FnMut(&Change<K>) -> Vec<T> + Send + 'static) {
        let mut changes = cache.subscribe();
        let queue = self.queue.clone();
        self.sources.push(Box::pin(async move {
            loop {
                let change = changes.next().await;
                keys(&change).into_iter().for_each(|key| queue.add(key));
            }
        }));
        self.needs(cache);
    }

    /// Waits for `cache` before the first reconcile: the reconciles read it, but its changes mean no work.
    pub fn needs<K: Cached>(&mut self, cache: &Cache<K>) {
        let cache = cache.clone();
        self.synced.push(Box::pin(async move { cache.synced().await }));
    }

    /// The queue, for keys that come from elsewhere than a cache.
    #[must_use]
    pub fn queue(&self) -> Arc<Queue<T>> {
        self.queue.clone()
    }

    /// Reconciles until the drain, `workers` keys at a time.
    ///
    /// # Errors
    /// Never: failures of a reconcile are logged and tried again.
    pub async fn run<F, E>(
        self,
        workers: usize,
        shutdown: Shutdown,
        reconcile: impl Fn(T) -> F + Send + Sync,
    ) -> Result<(), Infallible>
    where
        F: Future<Output = Result<Action, E>> + Send,
        E: fmt::Display + Send,
    {
        let Self { name, queue, synced, mut sources } = self;
        let work = async {
            join_all(synced).await;
            tracing::debug!(controller = name, "caches are complete");
            join_all((0..workers).map(|_| work(name, &queue, &reconcile))).await
        };
        tokio::select! {
            () = shutdown.wait() => {}
            _ = work => {}
            Some(_) = sources.next() => {}
        }
        Ok(())
    }
}

async fn work<T, F, E>(name: &'static str, queue: &Queue<T>, reconcile: &(impl Fn(T) -> F + Sync)) -> Infallible
where
    T: Clone + Eq + Hash + Ord + fmt::Display,
    F: Future<Output = Result<Action, E>>,
    E: fmt::Display,
{
    loop {
        let key = queue.next().await;
        let outcome = reconcile(key.clone()).await;
        match outcome {
            Ok(action) => {
                queue.forget(&key);
                if let Action::After(delay) = action {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error) => {
                let delay = queue.retry(key.clone());
                // A conflict or two is how optimistic concurrency works; what goes on failing is news.
                if delay < WORTH_TELLING {
                    tracing::debug!(controller = name, %key, %error, "will be tried again");
                } else {
                    tracing::warn!(controller = name, %key, %error, ?delay, "goes on failing");
                }
            }
        }
        queue.done(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use std::sync::Mutex;

    fn config_map(name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.into());
        object
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_reconciled_again_after_an_error_and_after_a_while() {
        let seen = Mutex::new(Vec::new());
        let mut controller = Controller::new("test");
        controller.watch(&Cache::fixed([config_map("fails"), config_map("waits")]), |change| vec![change.key.clone()]);
        let shutdown = Shutdown::new();
        let start = tokio::time::Instant::now();
        controller
            .run(2, shutdown.clone(), |key| {
                let mut seen = seen.lock().unwrap();
                let times = seen.iter().filter(|(name, _)| *name == key.to_string()).count();
                seen.push((key.to_string(), start.elapsed().as_secs()));
                if seen.len() == 5 {
                    shutdown.start();
                }
                std::future::ready(match (key.name(), times) {
                    ("fails", 0) => Err("first try"),
                    ("waits", _) => Ok(Action::After(Duration::from_secs(30))),
                    _ => Ok(Action::Done),
                })
            })
            .await
            .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort();
        let expected = [("fails", 0), ("fails", 0), ("waits", 0), ("waits", 30), ("waits", 60)];
        assert_eq!(seen, expected.map(|(name, at)| (name.to_owned(), at)));
    }
}
