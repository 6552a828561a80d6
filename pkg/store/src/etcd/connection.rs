//! The connection to etcd: one server at a time, the next one when it fails.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{Client, KvClient, WatchClient};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::{Failure, Refusal};
use super::options::EtcdOptions;

/// How long a request is tried before it fails. An election takes some seconds, noticing a dead connection up to 15.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries once every server has had one.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    options: EtcdOptions,
    current: Mutex<Current>,
    /// Whether the last request failed: only the first failure is worth a line in the log.
    troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct Current {
    peer: Option<Peer>,
    /// How many peers were given up.
    given_up: usize,
}

/// One server, as long as nothing fails on it.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) kv: KvClient,
    pub(super) watch: WatchClient,
    /// No other peer of the connection has this number.
    pub(super) number: usize,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Peer({})", self.number)
    }
}

/// Whether a request is sent again when nobody knows whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or doing it twice is doing it once.
    Freely,
    /// Only when it was surely not done: as upstream's client, which repeats no writes.
    WhenNotDone,
}

impl Connection {
    /// Connects when it is first used.
    pub(super) fn new(options: EtcdOptions) -> Self {
        Self { options, current: Mutex::default(), troubled: AtomicBool::new(false) }
    }

    /// Asks one server after the other until one answers or there is no more patience.
    pub(super) async fn call<T, F>(&self, repeat: Repeat, request: impl Fn(Peer) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut tried = 0;
        loop {
            let peer = self.peer().await?;
            let number = peer.number;
            let failure = match timeout_at(deadline, request(peer)).await {
                Ok(Ok(answer)) => {
                    self.note_success();
                    return Ok(answer);
                }
                Ok(Err(error)) => Failure::from(error),
                Err(_) => Failure::Unknown("it does not answer".to_owned()),
            };
            let (why, again) = match failure {
                Failure::Refused(refusal) => return Err(refusal),
                Failure::NotDone(why) => (why, true),
                Failure::Unknown(why) => (why, repeat == Repeat::Freely),
            };
            self.give_up(number, &why).await;
            if !again || Instant::now() + PAUSE >= deadline {
                return Err(Refusal::Other(why));
            }
            tried += 1;
            if tried % self.options.servers.len() == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// Uses this peer no more: it failed.
    pub(super) async fn give_up(&self, number: usize, why: &str) {
        let mut current = self.current.lock().await;
        if current.given_up != number {
            return;
        }
        if !self.troubled.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = self.server(number), why, "etcd failed, trying the next server");
        }
        *current = Current { peer: None, given_up: number + 1 };
    }

    fn note_success(&self) {
        if self.troubled.load(Ordering::Relaxed) && self.troubled.swap(false, Ordering::Relaxed) {
            tracing::info!("etcd answers");
        }
    }

    fn server(&self, number: usize) -> &str {
        let servers = &self.options.servers;
        servers.get(number % servers.len()).map_or("", String::as_str)
    }

    async fn peer(&self) -> Result<Peer, Refusal> {
        let mut current = self.current.lock().await;
        if let Some(peer) = &current.peer {
            return Ok(peer.clone());
        }
        let number = current.given_up;
        let server = self.server(number);
        let refused = |error: &dyn std::fmt::Display| Refusal::Other(format!("{server}: {error}"));
        let options = self.options.connection(server).await.map_err(|error| refused(&error))?;
        let client = Client::connect([server], Some(options)).await.map_err(|error| refused(&error))?;
        // The server limits what it answers. A list of many objects is far more than the 4 MiB that gRPC takes by default.
        let peer = Peer {
            kv: client.kv_client().max_decoding_message_size(usize::MAX),
            watch: client.watch_client().max_decoding_message_size(usize::MAX),
            number,
        };
        current.peer = Some(peer.clone());
        Ok(peer)
    }
}
