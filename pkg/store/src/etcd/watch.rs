//! Watching etcd: one stream for each watch, made again where it ended when it breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use tokio::time::sleep;

use super::Inner;
use super::connection::Repeat;
use super::convert::{self, revision, signed, unsigned};
use super::failure::{Failure, Refusal};
use crate::error::Error;
use crate::model::{Batch, Event, Revision};

/// Before a broken stream is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// One running watch.
#[derive(Debug)]
pub(super) struct Watching {
    store: Arc<Inner>,
    prefix: Bytes,
    /// The first revision that has not been told.
    next: Revision,
    stream: Option<Stream>,
    /// The events of a response whose last fragment is still to come.
    fragments: Vec<(Revision, Option<Event>)>,
    told: VecDeque<Batch>,
    over: bool,
}

#[derive(Debug)]
struct Stream {
    messages: WatchStream,
    /// The number of the peer that it goes to.
    peer: usize,
}

impl Watching {
    /// Starts at revision `from`, or with what comes next.
    pub(super) async fn start(store: Arc<Inner>, prefix: Bytes, from: Option<Revision>) -> Result<Self, Error> {
        let mut watching =
            Self { store, prefix, next: 0, stream: None, fragments: Vec::new(), told: VecDeque::new(), over: false };
        watching.next = match from {
            Some(from) => from,
            None => watching.store.look(None).await?.revision + 1,
        };
        watching.open().await?;
        Ok(watching)
    }

    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Batch, Error>> {
        loop {
            if let Some(batch) = self.told.pop_front() {
                return Some(Ok(batch));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.over = true;
                return Some(Err(error));
            }
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else { return self.open_again().await };
        let why = match stream.messages.message().await {
            Ok(Some(message)) if message.canceled() => match unsigned(message.compact_revision()) {
                0 => message.cancel_reason().to_owned(),
                oldest => return Err(Error::Compacted { asked: self.next, oldest }),
            },
            Ok(Some(message)) => return self.take(message),
            Ok(None) => "the stream of a watch ended".to_owned(),
            Err(error) => match Failure::from(error) {
                Failure::Refused(Refusal::Other(why)) | Failure::NotDone(why) | Failure::Unknown(why) => why,
                Failure::Refused(refusal) => format!("{refusal:?}"),
            },
        };
        let peer = stream.peer;
        self.stream = None;
        self.fragments.clear();
        self.store.connection.give_up(peer, &why).await;
        sleep(PAUSE).await;
        Ok(())
    }

    /// A response is told when its last fragment is there; until then the events of its last revision may lack some.
    fn take(&mut self, message: WatchResponse) -> Result<(), Error> {
        let at = revision(message.header());
        let message = message.0;
        for event in message.events {
            let revision = event.kv.as_ref().map_or(0, |kv| unsigned(kv.mod_revision));
            self.fragments.push((revision, convert::event(&self.store.keys, event)?));
        }
        if message.fragment {
            return Ok(());
        }
        if self.fragments.is_empty() && !message.created {
            // What etcd says now and then when nothing happened: everything up to here has been told.
            self.next = self.next.max(at + 1);
        }
        for (revision, event) in std::mem::take(&mut self.fragments) {
            match self.told.back_mut().filter(|batch| batch.revision == revision) {
                Some(batch) => batch.events.extend(event),
                None => self.told.push_back(Batch { revision, events: event.into_iter().collect() }),
            }
        }
        if let Some(last) = self.told.back() {
            self.next = last.revision + 1;
            self.store.saw(last.revision);
        }
        Ok(())
    }

    async fn open_again(&mut self) -> Result<(), Error> {
        match self.open().await {
            Err(Error::Unavailable(why)) => {
                tracing::debug!(why, "a watch waits for etcd");
                sleep(PAUSE).await;
                Ok(())
            }
            other => other,
        }
    }

    /// Makes the stream. A watch needs the state before its first change, too: what a change overwrote is part of it.
    async fn open(&mut self) -> Result<(), Error> {
        if self.next == 0 {
            return Err(Error::Compacted { asked: 0, oldest: self.store.oldest(0).await? });
        }
        match self.store.look(Some(self.next.saturating_sub(1).max(1))).await {
            Ok(_) | Err(Error::FutureRevision { .. }) => {}
            Err(Error::Compacted { oldest, .. }) => {
                return Err(Error::Compacted { asked: self.next, oldest: oldest.max(self.next + 1) });
            }
            Err(other) => return Err(other),
        }
        let (start, end) = self.store.keys.watched(&self.prefix);
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(signed(self.next))
            .with_prev_key()
            .with_fragment()
            .with_progress_notify();
        let opened = self.store.connection.call(Repeat::Freely, |mut peer| {
            let (start, options) = (start.clone(), options.clone());
            async move { Ok(Stream { messages: peer.watch.watch(start, Some(options)).await?, peer: peer.number }) }
        });
        self.stream = Some(opened.await.map_err(Refusal::into_error)?);
        Ok(())
    }
}
