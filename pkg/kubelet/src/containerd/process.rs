//! containerd as a process: who listens on the socket, how it is started and ended.
#![allow(unsafe_code, reason = "setsid between fork and exec needs pre_exec")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::Error;
use super::pidfd::PidFd;
use crate::cgroup::Cgroups;

/// How long an orderly end may take before it is killed. Shims and pods do not depend on it.
const STOP: Duration = Duration::from_secs(20);
/// A log that has grown beyond this is moved aside when containerd is started.
const LOG_LIMIT: u64 = 10 << 20;

/// Who starts containerd.
#[derive(Clone, Debug)]
pub enum Starter {
    /// We do, in its own session and cgroup, so that it outlives us.
    Detached {
        /// Where it is put, relative to the cgroup root.
        cgroup: String,
    },
    /// systemd does, as this unit, whose `ExecStart` takes the configuration's path from `$CONFIG` in this file.
    Systemd {
        /// For example `knarr-containerd.service`.
        unit: String,
        /// The unit's `EnvironmentFile`.
        environment: PathBuf,
    },
}

/// A containerd that listens on a socket.
#[derive(Debug)]
pub(crate) struct Listening {
    pid: i32,
    handle: PidFd,
}

impl Listening {
    /// The process that listens on `socket`, or `None` when nobody does.
    pub(crate) async fn on(socket: &Path) -> Result<Option<Self>, Error> {
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::file(socket)(error)),
        };
        let peer = getsockopt(&stream.as_fd(), PeerCredentials).map_err(|error| Error::file(socket)(error.into()))?;
        let handle = PidFd::open(peer.pid()).map_err(Error::process(format!("open process {}", peer.pid())))?;
        Ok(Some(Self { pid: peer.pid(), handle }))
    }

    /// Whether it was started with this configuration file, as its own command line says.
    pub(crate) fn uses(&self, config: &Path) -> bool {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == config.as_os_str().as_encoded_bytes())
    }

    /// Ends it, and returns when it has ended. Shims and pods stay.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        let doing = || format!("stop containerd (pid {})", self.pid);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            match self.handle.signal(signal) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(Error::process(doing())(error)),
                _ => {}
            }
            if let Ok(ended) = tokio::time::timeout(STOP, self.handle.ended()).await {
                return ended.map_err(Error::process(doing()));
            }
        }
        Err(Error::process(doing())(io::ErrorKind::TimedOut.into()))
    }

    /// Completes when it has ended.
    pub(crate) async fn ended(&self) -> Result<(), Error> {
        self.handle.ended().await.map_err(Error::process(format!("watch containerd (pid {})", self.pid)))
    }

    /// For the log.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Starter {
    /// Starts `program` with `config`. Returns as soon as the process exists.
    pub(crate) async fn start(
        &self,
        program: &Path,
        config: &Path,
        log: &Path,
        cgroups: &Cgroups,
    ) -> Result<(), Error> {
        match self {
            Self::Detached { cgroup } => detached(program, config, log, cgroups, cgroup),
            Self::Systemd { unit, environment } => {
                std::fs::write(environment, format!("CONFIG={}\n", config.display()))
                    .map_err(Error::file(environment))?;
                systemctl(&["restart", unit]).await
            }
        }
    }
}

fn detached(program: &Path, config: &Path, log: &Path, cgroups: &Cgroups, cgroup: &str) -> Result<(), Error> {
    if std::fs::metadata(log).is_ok_and(|found| found.len() > LOG_LIMIT) {
        std::fs::rename(log, log.with_extension("log.1")).map_err(Error::file(log))?;
    }
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(Error::file(log))?;
    let errors = output.try_clone().map_err(Error::file(log))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
    // What systemd gave to our own unit is not containerd's.
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "INVOCATION_ID", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command.env("PATH", super::host::search_path());
    // SAFETY: both calls are async-signal-safe system calls and allocate nothing.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            // Descriptors that we inherited (listening sockets) must not live on in it.
            libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
            Ok(())
        });
    }
    let child = command.spawn().map_err(Error::process(format!("start {}", program.display())))?;
    if let Some(pid) = child.id() {
        cgroups.place(cgroup, pid).map_err(Error::process(format!("put containerd into cgroup {cgroup}")))?;
    }
    // Dropping the child leaves it running; Tokio reaps it should it end before us.
    Ok(())
}

async fn systemctl(arguments: &[&str]) -> Result<(), Error> {
    let shown = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl").args(arguments).output().await.map_err(Error::process(shown.clone()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Systemd(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
