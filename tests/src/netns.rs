//! Threads of the test itself inside a network namespace: faster than a program per request, and measured exactly.

use std::fs::File;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

/// Runs `work` on a thread in the namespace of that file; sockets that it makes stay there.
pub fn spawn<T: Send + 'static>(
    namespace: PathBuf,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    thread::spawn(move || {
        let file = File::open(&namespace).with_context(|| format!("cannot open {}", namespace.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", namespace.display()))?;
        work()
    })
}

/// Like [`spawn`], and waits for the result.
///
/// # Errors
/// That of `work`, or when there is no such namespace.
pub fn inside<T: Send + 'static>(namespace: PathBuf, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let shown = namespace.display().to_string();
    spawn(namespace, work).join().map_err(|_| anyhow!("the thread in {shown} panicked"))?
}
