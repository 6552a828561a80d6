//! `knarr dataplane`: what must answer while the server is down. It faces untrusted traffic, so it opens its sockets as root
//! and then gives up all privileges for good.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_base::{Components, telemetry};
use knarr_client::cache::Caches;
use knarr_client::transport;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli;

/// How long answers under way may take when the process is asked to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Whom the process becomes: the package's own user, else the one that owns nothing.
const USERS: [&str; 2] = ["knarr-dataplane", "nobody"];
const ROOT: Uid = Uid::from_raw(0);

/// What the server tells its data plane, in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The cluster's domain.
    pub(crate) cluster_domain: String,
    /// Addresses of the cluster's DNS.
    pub(crate) cluster_dns: Vec<IpAddr>,
}

/// The files that server and data plane share. The data plane faces untrusted traffic: whatever becomes of it, it can put
/// nothing, a link for example, where root reads or writes.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Root's; the data plane's own directory is in it.
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

    /// What the data plane keeps for itself.
    fn own(&self) -> PathBuf {
        self.directory.join("own")
    }

    /// Makes the directories.
    pub(crate) fn make(&self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        give(&self.directory, ROOT, 0o711)?;
        std::fs::create_dir_all(self.own())?;
        give(&self.own(), user()?.uid, 0o700)
    }

    /// Lets the data plane's user, and nobody else but root, read the kubeconfig. The settings are no secret.
    pub(crate) fn hand_over(&self) -> Result<()> {
        give(&self.settings(), ROOT, 0o644)?;
        give(&self.kubeconfig(), user()?.uid, 0o400)
    }

    /// Opens the lock. Only root may, as everybody who can read a file can also lock it.
    pub(crate) fn open_lock(&self) -> std::io::Result<File> {
        File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&self.lock)
    }

    /// Whether somebody holds the lock.
    pub(crate) fn is_running(&self) -> bool {
        self.open_lock().is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
    }

    /// Ends the data plane of a node that shall have none: without settings, none starts again.
    pub(crate) fn retire(&self) -> Result<()> {
        match std::fs::remove_file(self.settings()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", self.settings().display()))?,
        }
        if self.is_running() { self.end_running() } else { Ok(()) }
    }

    fn end_running(&self) -> Result<()> {
        if let Ok(pid) = std::fs::read_to_string(&self.lock)?.trim().parse() {
            // It may have ended by itself meanwhile; the lock tells.
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        Ok(())
    }
}

fn give(path: &Path, owner: Uid, mode: u32) -> Result<()> {
    chown(path, Some(owner.as_raw()), None)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot hand over {}", path.display()))
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
    let lock = take_over(&files)?;
    give_up_root()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(settings, &files, listeners));
    drop(lock);
    served
}

/// Becomes the one data plane of the node: asks a predecessor to end, and waits until it has.
fn take_over(files: &Files) -> Result<Flock<File>> {
    let file = files.open_lock().with_context(|| format!("cannot open {}", files.lock.display()))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, _)) => {
            files.end_running()?;
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).context("cannot take the lock")?
        }
    };
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())?;
    Ok(lock)
}

fn user() -> Result<User> {
    let found = USERS.iter().find_map(|name| User::from_name(name).transpose()).transpose();
    found.context("cannot look up users")?.with_context(|| format!("none of the users {USERS:?} exists"))
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
        copy: files.own().join("zone.json"),
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
