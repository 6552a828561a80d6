//! A process that can be watched and signalled without the race of a reused pid (`pidfd_open(2)`).
#![allow(unsafe_code, reason = "pidfd_open and pidfd_send_signal have no safe wrapper in nix")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A handle to one process, whatever becomes of its pid.
#[derive(Debug)]
pub(crate) struct PidFd(AsyncFd<OwnedFd>);

impl PidFd {
    /// Opens `pid`. Needs a Tokio runtime.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let raw = i32::try_from(answer).map_err(io::Error::other)?;
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let owned = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: an owned descriptor stays the same one until it is dropped, which only `AsyncFd` can do.
        Ok(Self(unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE)? }))
    }

    /// Sends a signal; a process that has ended is `ESRCH`.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> io::Result<()> {
        let raw = self.0.get_ref().as_raw_fd();
        // SAFETY: the descriptor lives as long as `self`; a null siginfo is allowed.
        let answer = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, raw, signal as i32, std::ptr::null::<libc::siginfo_t>(), 0)
        };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Completes when the process has ended.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        // The descriptor stays readable for ever, so the guard need not be cleared.
        self.0.readable().await.map(|_guard| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_signalled_and_its_end_is_seen() {
        let mut child = tokio::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = PidFd::open(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        pid.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
        pid.ended().await.unwrap();
        assert!(!child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn an_absent_process_is_an_error() {
        assert!(PidFd::open(i32::MAX).is_err());
    }
}
