//! Threads of the test itself inside the lab's networks: faster than a program per request, and measured exactly.

use std::fs::File;
use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::Lab;

/// The two hosts of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The node.
    Node,
    /// The other host of the LAN.
    Lan,
}

impl Lab {
    /// Runs `work` on a thread in the network of that host; sockets that it makes stay there.
    pub fn spawn_on<T: Send + 'static>(
        &self,
        host: Host,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let suffix = if host == Host::Node { "node" } else { "lan" };
        let namespace = Path::new("/run/netns").join(format!("{}-{suffix}", self.name));
        thread::spawn(move || {
            let file = File::open(&namespace).with_context(|| format!("cannot open {}", namespace.display()))?;
            setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", namespace.display()))?;
            work()
        })
    }

    /// Like [`Lab::spawn_on`], and waits for the result.
    ///
    /// # Errors
    /// That of `work`, or when the lab is not up.
    pub fn on<T: Send + 'static>(&self, host: Host, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.spawn_on(host, work).join().map_err(|_| anyhow!("the thread on the {host:?} panicked"))?
    }
}
