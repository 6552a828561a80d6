//! Adopt-or-start, and start again when it dies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use knarr_base::Shutdown;
use knarr_base::backoff::Backoff;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::process::{Listening, Starter};
use super::{Error, Host, Settings};
use crate::cgroup::Cgroups;
use crate::cri::{Cri, Runtime as _, unix_channel};

/// How long a started containerd may take to answer. Recovering many pods after a crash takes a while.
const START: Duration = Duration::from_secs(60);
/// How often the socket is tried while containerd starts.
const KNOCK: Duration = Duration::from_millis(10);

/// Whether containerd answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being looked for, started, or has just died.
    Down,
    /// It answers. The number grows with every process, so that who subscribed to the former one notices.
    Up(u64),
}

/// The node's containerd.
#[derive(Debug)]
pub struct Containerd {
    settings: Settings,
    program: PathBuf,
    starter: Starter,
    cgroups: Cgroups,
    channel: Channel,
    state: watch::Sender<State>,
}

impl Containerd {
    /// Prepares, starts nothing yet.
    #[must_use]
    pub fn new(settings: Settings, host: &Host, starter: Starter, cgroups: Cgroups) -> Self {
        let channel = unix_channel(settings.socket.clone());
        Self {
            settings,
            program: host.containerd.clone(),
            starter,
            cgroups,
            channel,
            state: watch::channel(State::Down).0,
        }
    }

    /// A channel to its services; it waits for nothing and survives restarts.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// CRI on that channel.
    #[must_use]
    pub fn cri(&self) -> Cri {
        Cri::new(self.channel())
    }

    /// Follows whether it answers.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Keeps a containerd with our configuration running until the shutdown; leaves it running then.
    ///
    /// # Errors
    /// When our own files cannot be written. A containerd that does not start is tried again, with a line in the log.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        self.write_config()?;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut generation = 0;
        loop {
            let Some(found) = shutdown.or(self.adopt_or_start()).await else { return Ok(()) };
            match found {
                Ok(listening) => {
                    generation += 1;
                    backoff.reset();
                    self.state.send_replace(State::Up(generation));
                    let Some(ended) = shutdown.or(listening.ended()).await else { return Ok(()) };
                    self.state.send_replace(State::Down);
                    ended?;
                    tracing::warn!("containerd (pid {}) has ended; pods go on, starting it again", listening.pid());
                }
                Err(error) => {
                    tracing::error!("{error}");
                    if shutdown.or(tokio::time::sleep(backoff.delay())).await.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Uses the containerd that listens on our socket if it runs with our configuration, else replaces or starts it.
    async fn adopt_or_start(&self) -> Result<Listening, Error> {
        let config = self.settings.path();
        if let Some(found) = Listening::on(&self.settings.socket).await? {
            if found.uses(&config) && self.answers(&found).await.is_ok() {
                tracing::info!("using the running containerd (pid {})", found.pid());
                return Ok(found);
            }
            tracing::info!("replacing containerd (pid {}): other configuration, or no answer; pods go on", found.pid());
            found.stop().await?;
        }
        self.starter.start(&self.program, &config, &self.log(), &self.cgroups).await?;
        let listening = async {
            loop {
                if let Some(found) = Listening::on(&self.settings.socket).await? {
                    return Ok::<_, Error>(found);
                }
                tokio::time::sleep(KNOCK).await;
            }
        };
        let found = tokio::time::timeout(START, listening).await.map_err(|_| self.silent("does not listen"))??;
        self.answers(&found).await?;
        Ok(found)
    }

    /// Waits until CRI answers. containerd listens a moment before that plugin is ready; one that could not load the
    /// plugin never will be.
    async fn answers(&self, process: &Listening) -> Result<(), Error> {
        let cri = self.cri();
        let answer = async {
            loop {
                match cri.version().await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.unimplemented() => return Err(self.silent("has no CRI plugin")),
                    Err(_) => tokio::time::sleep(KNOCK).await,
                }
            }
        };
        tokio::select! {
            answer = answer => answer,
            _ = process.ended() => Err(self.silent("ended while it started")),
            () = tokio::time::sleep(START) => Err(self.silent("did not answer within a minute")),
        }
    }

    fn silent(&self, what: &'static str) -> Error {
        let log = self.log();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ");
        Error::Silent(what, log, last)
    }

    fn log(&self) -> PathBuf {
        self.settings.root.join("containerd.log")
    }

    /// Writes the configuration under its own name and removes those of former starts.
    fn write_config(&self) -> Result<(), Error> {
        let Settings { root, state, cni_bin, cni_conf, registries, socket, .. } = &self.settings;
        let beside_socket = socket.parent().unwrap_or(Path::new("/"));
        for directory in [root, state, cni_bin, cni_conf, registries, &beside_socket.to_owned()] {
            std::fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        let (path, content) = (self.settings.path(), self.settings.render());
        // What is there already needs no space on a full disk.
        if !std::fs::read_to_string(&path).is_ok_and(|present| present == content) {
            let partial = path.with_extension("partial");
            std::fs::write(&partial, content).map_err(Error::file(&partial))?;
            std::fs::rename(&partial, &path).map_err(Error::file(&path))?;
        }
        for entry in std::fs::read_dir(root).map_err(Error::file(root))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("config-") && entry.path() != path {
                std::fs::remove_file(entry.path()).map_err(Error::file(entry.path()))?;
            }
        }
        Ok(())
    }
}
