//! `knarr dataplane`: what must answer while the server is down. It faces untrusted traffic, so it opens its sockets as root
//! and then gives up all privileges for good.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_base::{Components, telemetry};
use knarr_client::cache::Caches;
use knarr_client::transport;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli;

/// How long answers under way may take when the process is asked to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Whom the process becomes: the package's own user, else the one that owns nothing.
const USERS: [&str; 2] = ["knarr-dataplane", "nobody"];

/// What the server tells its data plane, in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The cluster's domain.
    pub(crate) cluster_domain: String,
    /// Addresses of the cluster's DNS.
    pub(crate) cluster_dns: Vec<IpAddr>,
}

/// The files that server and data plane share.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Readable by the data plane's user.
    pub(crate) directory: PathBuf,
    /// Locked by the running data plane, and holding its pid.
    pub(crate) lock: PathBuf,
}

impl Files {
    pub(crate) fn new(directories: &cli::Directories) -> Self {
        Self { directory: directories.data_dir.join("dataplane"), lock: directories.run_dir.join("dataplane.lock") }
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.directory.join("settings.json")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Makes the directory, and gives it and its files to the data plane's user alone.
    pub(crate) fn hand_over(&self) -> Result<()> {
        let user = user()?;
        std::fs::create_dir_all(&self.directory)?;
        let files = [self.directory.clone(), self.settings(), self.kubeconfig()];
        for path in files.iter().filter(|path| path.exists()) {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// Runs the data plane until it is told to end.
pub(crate) fn run(arguments: &cli::Dataplane) -> Result<()> {
    // hickory says a line per query at this level.
    telemetry::init("info,hickory_server=warn");
    let files = Files::new(&arguments.directories);
    let text = std::fs::read(files.settings())
        .with_context(|| format!("cannot read {}: `knarr server` writes it", files.settings().display()))?;
    let settings: Settings =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", files.settings().display()))?;
    let addresses: Vec<_> = settings.cluster_dns.iter().map(|&address| SocketAddr::new(address, 53)).collect();
    // Sockets that tokio takes over must be made within its runtime's reach, but opened before root is given up.
    let listeners = knarr_dns::Listeners::open(&addresses)?;
    let lock = take_over(&files.lock)?;
    give_up_root()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(settings, &files, listeners));
    drop(lock);
    served
}

/// Becomes the one data plane of the node: asks a predecessor to end, and waits until it has.
fn take_over(path: &Path) -> Result<Flock<File>> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, _)) => {
            let predecessor = std::fs::read_to_string(path)?.trim().parse().map(Pid::from_raw);
            if let Ok(predecessor) = predecessor {
                // It may have ended by itself meanwhile; the lock tells.
                let _gone = kill(predecessor, Signal::SIGTERM);
            }
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).context("cannot take the lock")?
        }
    };
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())?;
    Ok(lock)
}

fn user() -> Result<User> {
    let found = USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    found.with_context(|| format!("none of the users {USERS:?} exists"))
}

fn give_up_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let user = user()?;
    setgroups(&[]).context("cannot leave root's groups")?;
    setresgid(user.gid, user.gid, user.gid).context("cannot give up root's group")?;
    setresuid(user.uid, user.uid, user.uid).context("cannot give up root")
}

async fn serve(settings: Settings, files: &Files, listeners: knarr_dns::Listeners) -> Result<()> {
    let client = transport::kubeconfig(files.kubeconfig())?;
    let (caches, watches) = Caches::new(client);
    let mut components = Components::new();
    let shutdown = components.shutdown();
    let config = knarr_dns::Config {
        domain: settings.cluster_domain,
        resolv_conf: "/etc/resolv.conf".into(),
        copy: files.directory.join("zone.json"),
    };
    components.spawn("dns", {
        let shutdown = shutdown.clone();
        async move { knarr_dns::run(config, listeners, &caches, shutdown).await }
    });
    components.spawn("watches", watches.run(shutdown.clone()));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.start();
    });
    Ok(components.run(DRAIN).await?)
}
