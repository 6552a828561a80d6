//! Keeps one cache current: streaming list, watch, resume, start over.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use knarr_base::backoff::Backoff;
use kube::client::Body;
use kube::core::{Status, WatchEvent};
use tokio::time::{Instant, timeout};

use super::cached::{Cached, parse_revision};
use super::shared::{Cache, Shared};
use super::{Key, Selection};

/// How long the server is asked to keep one watch open. It ends in the ordinary way then and is resumed.
const WATCH_SECONDS: u32 = 480;

/// A watch that says nothing for longer than the server was asked to keep it open is dead.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// A watch that ended sooner than this has failed, whatever it said, and is not repeated at once.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// Marks the bookmark that ends the list of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Why a watch ended other than in the ordinary way.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Request(#[from] kube::Error),
    #[error("{0}")]
    Build(#[from] http::Error),
    #[error("{0}")]
    Refused(Box<Status>),
    #[error("an event cannot be read: {0}")]
    Event(#[from] serde_json::Error),
    #[error("silent for too long")]
    Silent,
    #[error("ended before the list was complete")]
    Incomplete,
}

/// The path and the selectors of a watch; everything else of the query is the reflector's.
pub(super) fn target(path: &str, selection: &Selection) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('&', "%26").replace('+', "%2B").replace(' ', "%20");
    let mut target = format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}");
    for (name, value) in [("fieldSelector", &selection.fields), ("labelSelector", &selection.labels)] {
        if !value.is_empty() {
            target.push_str(&format!("&{name}={}", escape(value)));
        }
    }
    target
}

/// The task that feeds one cache. It holds the cache weakly: the users keep it alive.
pub(super) struct Reflector<T> {
    client: kube::Client,
    target: String,
    cache: Weak<Shared<T>>,
    /// Where the next watch resumes; `None` starts with a list.
    position: Option<u64>,
    /// The list that is being received.
    list: BTreeMap<Key, Arc<T>>,
}

impl<T: Cached> Reflector<T> {
    pub(super) fn new(client: kube::Client, target: String, cache: &Cache<T>) -> Self {
        Self { client, target, cache: Arc::downgrade(&cache.0), position: None, list: BTreeMap::new() }
    }

    /// Watches for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        loop {
            let began = Instant::now();
            let outcome = self.watch().await;
            self.list.clear();
            if let Err(broken) = &outcome {
                if broken.is_gone() {
                    tracing::info!(target = self.target, "the watch is too old to resume, listing again");
                    self.position = None;
                } else {
                    tracing::warn!(target = self.target, error = %broken, "watch interrupted");
                }
            }
            if began.elapsed() >= TOO_SHORT {
                backoff.reset();
            }
            if outcome.is_err() || began.elapsed() < TOO_SHORT {
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }

    async fn watch(&mut self) -> Result<(), Broken> {
        let mut body = self.open().await?;
        let mut lines = Lines::default();
        while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| Broken::Silent)? {
            let Ok(data) = frame?.into_data() else { continue };
            lines.feed(data, |line| self.event(line))?;
        }
        if self.position.is_none() { Err(Broken::Incomplete) } else { Ok(()) }
    }

    async fn open(&self) -> Result<Body, Broken> {
        let uri = match self.position {
            Some(revision) => format!("{}&resourceVersion={revision}", self.target),
            None => format!("{}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", self.target),
        };
        let request = http::Request::get(uri).header(http::header::ACCEPT, T::ACCEPT.unwrap_or("application/json"));
        let response = self.client.send(request.body(Body::empty())?).await?;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let text = body.collect_bytes().await?;
        let status = serde_json::from_slice(&text).unwrap_or_else(|_| {
            Status::failure(&String::from_utf8_lossy(&text), "Unknown").with_code(parts.status.as_u16())
        });
        Err(Broken::Refused(Box::new(status)))
    }

    fn event(&mut self, line: &[u8]) -> Result<(), Broken> {
        match serde_json::from_slice(line)? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => self.object(object, true),
            WatchEvent::Deleted(object) => self.object(object, false),
            WatchEvent::Bookmark(bookmark) => {
                let revision = parse_revision(&bookmark.metadata.resource_version);
                self.bookmark(revision, bookmark.metadata.annotations.contains_key(INITIAL_EVENTS_END));
            }
            WatchEvent::Error(status) => return Err(Broken::Refused(status)),
        }
        Ok(())
    }

    fn object(&mut self, mut object: T, exists: bool) {
        let (key, revision) = (object.key(), object.revision());
        object.slim();
        let object = exists.then(|| Arc::new(object));
        if let Some(position) = &mut self.position {
            *position = revision.max(*position);
            if let Some(cache) = self.cache.upgrade() {
                cache.apply(key, object, revision);
            }
        } else if let Some(object) = object {
            self.list.insert(key, object);
        } else {
            self.list.remove(&key);
        }
    }

    fn bookmark(&mut self, revision: u64, ends_list: bool) {
        let Some(cache) = self.cache.upgrade() else { return };
        if self.position.is_none() && ends_list {
            cache.replace(std::mem::take(&mut self.list), revision);
            self.position = Some(revision);
        } else if let Some(position) = &mut self.position {
            *position = revision.max(*position);
            cache.reached(revision);
        }
    }
}

impl Broken {
    /// Whether the revision to resume from is compacted (`410 Gone`, reason `Expired` or `Gone`).
    fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(status) | Self::Request(kube::Error::Api(status))
            if status.code == 410 || status.reason == "Expired" || status.reason == "Gone")
    }
}

/// Cuts a stream into lines; copies only what is split over two chunks.
#[derive(Default)]
struct Lines(BytesMut);

impl Lines {
    fn feed<E>(&mut self, chunk: Bytes, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut rest: &[u8] = &chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.0.is_empty() {
                each(line)?;
            } else {
                self.0.extend_from_slice(line);
                each(&self.0.split())?;
            }
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_be_cut_anywhere() {
        let whole = b"one\ntwo\n\nfour\npart";
        for cut in 0..whole.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for chunk in [&whole[..cut], &whole[cut..]] {
                lines
                    .feed(Bytes::copy_from_slice(chunk), |line| {
                        seen.push(String::from_utf8(line.to_vec()).unwrap());
                        Ok::<_, ()>(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, ["one", "two", "", "four"], "cut at {cut}");
        }
    }

    #[test]
    fn selectors_are_escaped() {
        let target = target("/api/v1/pods", &Selection::fields("spec.nodeName=a&b"));
        assert!(target.ends_with("&fieldSelector=spec.nodeName=a%26b"), "{target}");
    }
}
