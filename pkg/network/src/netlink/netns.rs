//! Network namespaces by path.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use super::Netlink;
use crate::Result;
use crate::error::Doing;

/// A network namespace. It stays alive while this is held.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: String,
}

impl Netns {
    /// The namespace that is mounted at `path`, for example `/var/run/netns/cni-1234`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).doing(|| format!("open the network namespace {}", path.display()))?;
        Ok(Self { file, path: path.display().to_string() })
    }

    /// Runs `work` within the namespace, in a thread of its own: the caller's thread never leaves its namespace, so nothing
    /// can end up in the wrong one.
    ///
    /// # Errors
    /// When the path was no network namespace, and whatever `work` returns.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .doing(|| format!("enter the network namespace {}", self.path))?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A connection to the namespace's kernel side, which can be used from any thread.
    ///
    /// # Errors
    /// As [`Netlink::open`].
    pub fn netlink(&self) -> Result<Netlink> {
        self.inside(Netlink::open)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
