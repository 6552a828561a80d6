//! `knarr server`: a whole node in one process.
//!
//! ```text
//! settings -> certificates, store, listeners -> API server -> bootstrap objects, controllers, scheduler
//!                                                          -> kubelet, network, data plane
//! ```
//!
//! Everything is built first and spawned then; whatever ends first drains the rest.

mod agent;
mod control_plane;
mod dataplane;
mod identity;
mod schedule;
mod sealing;
mod settings;
mod snapshots;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use knarr_base::{Components, Shutdown, telemetry};
use knarr_pki::ClusterPki;
use tokio::signal::unix::{SignalKind, signal};

use crate::{cli, systemd};
use sealing::Sealing;
use settings::Settings;

/// How long components may take to end.
const DRAIN: Duration = Duration::from_secs(20);
/// Most work waits for the disk or the network; more threads only cost memory on small machines.
const WORKERS: usize = 2;
/// Threads for blocking calls: files, DNS names.
const BLOCKING: usize = 16;

/// Runs until it is told to end or a component fails.
pub(crate) fn run(arguments: &cli::Server) -> Result<()> {
    telemetry::init("info");
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "knarr server needs root: it makes network links and starts containers"
    );
    let settings = Settings::new(arguments)?;
    let listeners = listeners(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(settings, listeners));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(settings: Settings, listeners: Vec<TcpListener>) -> Result<()> {
    let mut components = Components::new();
    let shutdown = components.shutdown();
    stop_on_signals(shutdown.clone())?;
    let Some(opened) = shutdown.or(control_plane::open(&settings)).await else { return Ok(()) };
    let (pki, sealing) = opened?;
    let store = sealing.store();
    let started = start(&settings, pki, sealing, listeners, &mut components).await;
    // Who is told to end while it starts has nothing to complain of.
    let started = if shutdown.started() { Ok(()) } else { started.inspect_err(|_| shutdown.start()) };
    let drained = components.run(DRAIN).await;
    // Without it the next start would take this for a crash.
    let closed = store.close().await.context("cannot close the store");
    started.and(drained.map_err(Into::into)).and(closed)
}

async fn start(
    settings: &Settings,
    pki: Arc<ClusterPki>,
    sealing: Arc<Sealing>,
    listeners: Vec<TcpListener>,
    components: &mut Components,
) -> Result<()> {
    let control_plane = control_plane::build(settings, pki, sealing, listeners, components).await?;
    agent::build(settings, &control_plane, components).await?;
    components.meanwhile(control_plane.readiness.ready()).await?;
    systemd::notify_ready()?;
    tracing::info!(node = settings.node, version = cli::VERSION, "started");
    Ok(())
}

/// The API server's own address, and what a supervisor opened and passed on (`sd_listen_fds(3)`).
fn listeners(settings: &Settings) -> Result<Vec<TcpListener>> {
    let own = SocketAddr::new(settings.arguments.bind_address, settings.arguments.secure_port);
    let mut listeners = vec![TcpListener::bind(own).with_context(|| format!("cannot listen on {own}"))?];
    let mut passed = listenfd::ListenFd::from_env();
    for index in 0..passed.len() {
        listeners.extend(passed.take_tcp_listener(index).context("a passed descriptor is no TCP listener")?);
    }
    Ok(listeners)
}

fn stop_on_signals(shutdown: Shutdown) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; pods go on");
        shutdown.start();
    });
    Ok(())
}
