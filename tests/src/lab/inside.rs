//! Threads of the test itself inside the lab's networks.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::Lab;
use crate::netns;

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
        netns::spawn(self.namespace(host), work)
    }

    /// Like [`Lab::spawn_on`], in the network of the running pod with that UID.
    ///
    /// # Errors
    /// When no process of the pod is found.
    pub fn spawn_in_pod<T: Send + 'static>(
        &self,
        uid: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let processes = fs::read_dir("/proc").context("cannot list processes")?.flatten().map(|entry| entry.path());
        // A pod's processes are in the cgroup of its UID. What has ended meanwhile has none.
        let is_of_pod =
            |process: &PathBuf| fs::read_to_string(process.join("cgroup")).is_ok_and(|told| told.contains(uid));
        let process = processes.into_iter().find(is_of_pod).with_context(|| format!("pod {uid} has no process"))?;
        Ok(netns::spawn(process.join("ns/net"), work))
    }

    /// Like [`Lab::spawn_on`], and waits for the result.
    ///
    /// # Errors
    /// That of `work`, or when the lab is not up.
    pub fn on<T: Send + 'static>(&self, host: Host, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        netns::inside(self.namespace(host), work)
    }

    /// The file of that host's network namespace.
    #[must_use]
    pub fn namespace(&self, host: Host) -> PathBuf {
        let suffix = if host == Host::Node { "node" } else { "lan" };
        Path::new("/run/netns").join(format!("{}-{suffix}", self.name))
    }
}
