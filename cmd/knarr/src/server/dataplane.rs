//! Keeps `knarr dataplane` running, without being its parent for good: it outlives the server.
//!
//! The running data plane holds a lock; the kernel gives the lock back in the moment in which it dies, however it dies. That
//! is what the supervisor waits for, whoever started the process, this server or a former one.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use nix::fcntl::{Flock, FlockArg};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::cli::{Directories, VERSION};
use crate::dataplane::{Files, Settings};
use crate::systemd;

/// A process that lived this long did not fail at its start.
const LIVED: Duration = Duration::from_secs(10);

/// See the module's page.
pub(super) struct Supervisor {
    files: Files,
    directories: Directories,
    under_systemd: bool,
}

impl Supervisor {
    pub(super) fn new(directories: &Directories, under_systemd: bool) -> Self {
        Self { files: Files::new(directories), directories: directories.clone(), under_systemd }
    }

    /// Adopts the running data plane when it is of this version and these settings, else replaces it; starts another
    /// whenever there is none. `write` writes its kubeconfig, at the start and whenever `certificate` was renewed.
    pub(super) async fn run<T>(
        self,
        settings: Settings,
        write: impl Fn(&Path) -> Result<()>,
        mut certificate: watch::Receiver<T>,
        shutdown: Shutdown,
    ) -> Result<()> {
        self.files.make()?;
        let settings = serde_json::to_vec(&settings)?;
        // On a full disk, what is there stays.
        if !fs::read(self.files.settings()).is_ok_and(|known| known == settings) {
            fs::write(self.files.settings(), settings)?;
        }
        let hand_over = || write(&self.files.kubeconfig()).and_then(|()| self.files.hand_over());
        hand_over()?;
        let renewing = async {
            while certificate.changed().await.is_ok() {
                if let Err(error) = hand_over() {
                    tracing::error!("cannot renew the data plane's kubeconfig: {error:#}");
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            ended = self.keep(&shutdown) => ended,
            ended = renewing => ended,
        }
    }

    /// Under systemd, restarting it is the unit's business.
    async fn keep(&self, shutdown: &Shutdown) -> Result<()> {
        let mut current = self.is_current();
        if self.under_systemd {
            if !current {
                self.restart_unit().await?;
            }
            shutdown.wait().await;
            return Ok(());
        }
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        while !shutdown.started() {
            let since = Instant::now();
            let ended = if std::mem::take(&mut current) {
                shutdown.or(self.adopted_ended()).await.transpose()?
            } else {
                let mut child = self.start()?;
                shutdown.or(child.wait()).await.transpose()?.map(drop)
            };
            if ended.is_none() {
                break;
            }
            tracing::warn!("the data plane has ended: starting another");
            if since.elapsed() > LIVED {
                backoff.reset();
            }
            shutdown.or(tokio::time::sleep(backoff.delay())).await;
        }
        Ok(())
    }

    /// What makes a running data plane the right one.
    fn fingerprint(&self) -> Result<String> {
        let settings = fs::read_to_string(self.files.settings())?;
        let program = fs::metadata("/proc/self/exe")?;
        let changed = std::os::unix::fs::MetadataExt::mtime_nsec(&program);
        Ok(format!("{VERSION} {} {changed} {settings}", program.len()))
    }

    fn is_current(&self) -> bool {
        let marked = fs::read_to_string(self.mark()).ok();
        self.files.is_running() && marked.is_some() && marked == self.fingerprint().ok()
    }

    fn mark_current(&self) -> Result<()> {
        Ok(fs::write(self.mark(), self.fingerprint()?)?)
    }

    fn mark(&self) -> std::path::PathBuf {
        self.files.lock.with_extension("current")
    }

    async fn restart_unit(&self) -> Result<()> {
        let unit = systemd::DATAPLANE;
        let status = Command::new("systemctl").args(["restart", unit]).status().await?;
        anyhow::ensure!(status.success(), "`systemctl restart {unit}` ended with {status}");
        self.mark_current()
    }

    /// Starts it in a session of its own, so that nothing that ends the server's ends the data plane.
    fn start(&self) -> Result<Child> {
        let mut command = Command::new("setsid");
        command.arg(std::env::current_exe()?).arg("dataplane");
        command.arg("--data-dir").arg(&self.directories.data_dir).arg("--run-dir").arg(&self.directories.run_dir);
        let child = command.stdin(Stdio::null()).spawn().context("cannot start the data plane")?;
        self.mark_current()?;
        Ok(child)
    }

    /// Completes when the data plane that a former server started has ended. A thread of its own waits for the lock, because
    /// a drain must not wait for it.
    async fn adopted_ended(&self) -> Result<()> {
        let (sender, ended) = oneshot::channel();
        let files = self.files.clone();
        std::thread::Builder::new().name("dataplane-lock".into()).stack_size(64 * 1024).spawn(move || {
            let waited = files
                .open_lock()
                .and_then(|file| Flock::lock(file, FlockArg::LockShared).map(drop).map_err(|(_, error)| error.into()));
            // Nobody listens any more when the drain came first.
            let _drained = sender.send(waited);
        })?;
        ended
            .await
            .context("the thread that waits for the data plane has ended")?
            .context("cannot wait for the data plane")
    }
}
