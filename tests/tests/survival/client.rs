//! A client on the LAN that never stops asking.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use knarr_tests::lab::{Host, Lab};
use knarr_tests::web::fetch;

/// Stops by itself after this time, whatever the test does.
const BOUND: Duration = Duration::from_secs(180);

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) count: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) bodies: BTreeSet<String>,
    /// The longest time between two answers.
    pub(crate) gap: Duration,
}

/// A client that runs until it is stopped.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Client {
    /// Starts to fetch `/` of that address every 10 ms.
    pub(crate) fn start(lab: &Lab, address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = lab.spawn_on(Host::Lan, move || {
            let (begin, mut last) = (Instant::now(), Instant::now());
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) && begin.elapsed() < BOUND {
                let next = Instant::now() + Duration::from_millis(10);
                match fetch(address, "/", Duration::from_secs(3)) {
                    Ok(body) => {
                        seen.bodies.insert(body);
                    }
                    Err(error) => seen.failures.push(format!("after {:?}: {error:#}", begin.elapsed())),
                }
                seen.count += 1;
                seen.gap = seen.gap.max(last.elapsed());
                last = Instant::now();
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
            ensure!(stopped.load(Ordering::Relaxed), "the test took longer than {BOUND:?}: the rest was not watched");
            Ok(seen)
        });
        Self { stop, thread }
    }

    /// Stops it; what it saw.
    pub(crate) fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the client panicked"))?
    }
}
