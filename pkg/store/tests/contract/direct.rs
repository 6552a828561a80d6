//! A store as a [`Reader`].

use std::collections::VecDeque;

use bytes::Bytes;
use knarr_store::{Error, Event, KeyValue, Page, Range, Revision, Shared, Watch, prefix_end};

use super::reads::{Listed, Reader, Refused, change, shown};

const ROOT: &str = "names/";

/// Reads the store itself.
pub struct Direct(pub Shared);

fn text(value: &KeyValue) -> String {
    String::from_utf8_lossy(&value.value).into_owned()
}

fn name(value: &KeyValue) -> String {
    String::from_utf8_lossy(&value.key).strip_prefix(ROOT).unwrap().to_owned()
}

fn refused(error: Error) -> Refused {
    match error {
        Error::Compacted { .. } => Refused::Compacted,
        Error::FutureRevision { .. } => Refused::Future,
        other => panic!("{other}"),
    }
}

impl Direct {
    async fn page(
        &self,
        start: Bytes,
        at: Option<Revision>,
        limit: usize,
    ) -> Result<Listed<(Revision, Bytes)>, Refused> {
        let range = Range { start, end: prefix_end(ROOT.as_bytes()), limit, at, ..Range::default() };
        let Page { items, count, more, revision, .. } = self.0.range(range).await.map_err(refused)?;
        let next = items.last().filter(|_| more).map(|last| (revision, [&last.key[..], b"\0"].concat().into()));
        let remaining = count - items.len();
        let items = items.iter().map(|item| shown(&name(item), &text(item), item.mod_revision)).collect();
        Ok(Listed { items, revision, remaining, next })
    }
}

impl Reader for Direct {
    type Next = (Revision, Bytes);
    type Watch = (Watch, VecDeque<String>);

    fn store(&self) -> &Shared {
        &self.0
    }

    fn key(&self, name: &str) -> Bytes {
        format!("{ROOT}{name}").into()
    }

    fn value(&self, text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    async fn get(&self, name: &str) -> Option<String> {
        let found = self.0.get(&self.key(name)).await.unwrap();
        found.map(|found| shown(name, &text(&found), found.mod_revision))
    }

    async fn list(&self, at: Option<Revision>, limit: usize) -> Result<Listed<Self::Next>, Refused> {
        self.page(ROOT.into(), at, limit).await
    }

    async fn go_on(&self, (revision, start): Self::Next, limit: usize) -> Result<Listed<Self::Next>, Refused> {
        self.page(start, Some(revision), limit).await
    }

    async fn watch(&self, after: Revision) -> Result<Self::Watch, Refused> {
        let watch = self.0.watch(ROOT.into(), Some(after + 1)).await;
        watch.map(|watch| (watch, VecDeque::new())).map_err(refused)
    }

    async fn next(&self, (watch, told): &mut Self::Watch) -> Result<String, Refused> {
        while told.is_empty() {
            let next = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await;
            let batch = next.expect("no batch came").expect("the watch ended").map_err(refused)?;
            told.extend(batch.events.iter().map(|event| match event {
                Event::Put { now, previous } => {
                    let before = previous.as_ref().map(text);
                    change(batch.revision, &name(now), before.as_deref(), Some(&text(now)))
                }
                Event::Delete { previous, .. } => change(batch.revision, &name(previous), Some(&text(previous)), None),
            }));
        }
        Ok(told.pop_front().unwrap())
    }
}
