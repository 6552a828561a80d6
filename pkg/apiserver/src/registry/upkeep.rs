//! What has to be forgotten: the history of objects after some minutes, Events after an hour.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use knarr_base::Shutdown;
use knarr_store::{Durability, Error, Guard, Op, Revision, Txn};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Registry;
use crate::cache::Item;

/// Upstream's `--event-ttl`: an Event goes when it has not been written for so long.
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// Events that are deleted in one transaction.
const BATCH: usize = 100;

/// Looks after a registry's store.
#[derive(Debug)]
pub(crate) struct Upkeep {
    registry: Arc<Registry>,
    /// Which revision was the newest when: what was written up to it has not been written since.
    marks: VecDeque<(Instant, Revision)>,
}

impl Upkeep {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, marks: VecDeque::new() }
    }

    /// Works every `interval` until the shutdown starts. What fails is tried again the next time.
    pub(crate) async fn run(mut self, interval: Duration, shutdown: Shutdown) {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.or(ticks.tick()).await.is_some() {
            if let Err(error) = self.tick(Instant::now()).await {
                tracing::warn!(%error, "upkeep of the store");
            }
        }
    }

    async fn tick(&mut self, now: Instant) -> Result<(), Error> {
        let previous = self.marks.back().map(|(_, revision)| *revision);
        self.marks.push_back((now, self.registry.store.revision()));
        let mut expired = None;
        while let Some((_, revision)) = self.marks.pop_front_if(|(then, _)| now.duration_since(*then) >= EVENT_TTL) {
            expired = Some(revision);
        }
        if let Some(revision) = previous {
            self.registry.store.compact(revision).await?;
        }
        if let Some(revision) = expired {
            self.expire_events(revision).await?;
        }
        Ok(())
    }

    /// Deletes the Events that were last written at `revision` or before.
    async fn expire_events(&self, revision: Revision) -> Result<(), Error> {
        let Some(cache) = self.registry.cache("", "events") else { return Ok(()) };
        let old: Vec<Arc<Item>> = cache.written_until(revision);
        for batch in old.chunks(BATCH) {
            let guards = batch.iter().map(|item| Guard::Unchanged(item.key.clone(), item.stored.revision)).collect();
            let ops = batch.iter().map(|item| Op::Delete(item.key.clone())).collect();
            // When one of them has been written meanwhile, the batch stays for the next time.
            self.registry.store.txn(Txn { guards, ops, durability: Durability::Relaxed }).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Fixture;

    const EVENTS: &str = "/api/v1/namespaces/default/events";

    async fn write(api: &Fixture, name: &str) {
        api.post(EVENTS, json!({"metadata": {"name": name}, "involvedObject": {"namespace": "default"}})).await.ok();
    }

    #[tokio::test]
    async fn an_event_goes_an_hour_after_its_last_write() {
        let api = Fixture::new().await;
        let (mut upkeep, start) = (Upkeep::new(api.registry.clone()), Instant::now());
        let later = |minutes: u64| start + Duration::from_secs(minutes * 60);
        write(&api, "old").await;
        write(&api, "renewed").await;
        upkeep.tick(start).await.unwrap();
        write(&api, "young").await;
        api.patch(&format!("{EVENTS}/renewed"), "merge", json!({"count": 2})).await.ok();
        upkeep.tick(later(30)).await.unwrap();
        let names = async || {
            let list = api.get(EVENTS).await.ok();
            let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names().await, ["old", "renewed", "young"]);
        upkeep.tick(later(60)).await.unwrap();
        assert_eq!(names().await, ["renewed", "young"]);
        upkeep.tick(later(90)).await.unwrap();
        assert_eq!(names().await, [json!(null); 0]);
    }

    #[tokio::test]
    async fn history_reaches_back_to_the_mark_before() {
        let api = Fixture::new().await;
        let mut upkeep = Upkeep::new(api.registry.clone());
        let maps = "/api/v1/namespaces/default/configmaps";
        let exact = |revision: u64| format!("{maps}?resourceVersion={revision}&resourceVersionMatch=Exact");
        api.post(maps, json!({"metadata": {"name": "a"}})).await.ok();
        api.post(maps, json!({"metadata": {"name": "b"}})).await.ok();
        upkeep.tick(Instant::now()).await.unwrap();
        api.post(maps, json!({"metadata": {"name": "c"}})).await.ok();
        assert_eq!(api.get(&exact(2)).await.code, 200);
        upkeep.tick(Instant::now()).await.unwrap();
        assert_eq!(
            api.get(&exact(2)).await.message(),
            (410, "The resourceVersion for the provided list is too old.".into())
        );
        assert_eq!(api.get(&exact(3)).await.code, 200);
    }
}
