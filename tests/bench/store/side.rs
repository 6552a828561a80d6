//! The two sides, and a case run on each.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use knarr_tests::command::{output, shown};
use knarr_tests::figures::median;
use knarr_tests::suite::beside;
use tempfile::TempDir;

/// Alternating runs of a case.
const ROUNDS: usize = 3;

/// Who does the work of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// knarr's store, in process: also how it is used.
    Ours,
    /// etcd in the process that loads it.
    Embedded,
    /// etcd as it is used: a process of its own, asked over loopback.
    AsUsed,
}

impl Side {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Embedded, Self::AsUsed];
}

/// The figures that a case printed, by name.
pub(crate) type Printed = HashMap<String, f64>;

/// The load programs, and a place on the disk that is measured.
#[derive(Debug)]
pub(crate) struct Sides {
    ours: PathBuf,
    peer: PathBuf,
    place: PathBuf,
}

impl Sides {
    pub(crate) fn new() -> Result<Self> {
        let peer = beside("etcd-peer").context("make bench-store builds it")?;
        let folder = peer.parent().context("a folder")?.to_owned();
        let ours = folder.join("examples").join("store-load");
        ensure!(ours.is_file(), "store-load is not built: cargo build --release -p knarr-store --example store-load");
        // Not the directory for temporary files, which may be in memory.
        Ok(Self { ours, peer, place: folder })
    }

    /// An empty directory that goes when this is dropped.
    pub(crate) fn directory(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("bench-store-").tempdir_in(&self.place)?)
    }

    /// The command of a case of which `directory` is the store.
    pub(crate) fn command(&self, side: Side, case: &[&str], target: &str) -> Command {
        let mut command = Command::new(if side == Side::Ours { &self.ours } else { &self.peer });
        let (name, arguments) = case.split_first().map_or(("", case), |(name, rest)| (*name, rest));
        command.arg(name).arg(target).args(arguments);
        command
    }

    /// Runs a case once, on a fresh store.
    pub(crate) fn once(&self, side: Side, case: &[&str]) -> Result<Printed> {
        let directory = self.directory()?;
        let server = if side == Side::AsUsed { Some(self.serve(directory.path())?) } else { None };
        let target = server.as_ref().map_or_else(|| path(directory.path()), |server| server.url.clone());
        let printed = output(&mut self.command(side, case, &target))?;
        printed.lines().map(|line| figure(line).with_context(|| format!("{line:?} is no figure"))).collect()
    }

    /// The medians of a case on all sides.
    pub(crate) fn medians(&self, case: &[&str]) -> Result<HashMap<Side, Printed>> {
        let mut seen: HashMap<Side, HashMap<String, Vec<f64>>> = HashMap::new();
        for _ in 0..ROUNDS {
            for side in Side::ALL {
                for (name, value) in self.once(side, case)? {
                    seen.entry(side).or_default().entry(name).or_default().push(value);
                }
            }
        }
        let medians = |figures: HashMap<String, Vec<f64>>| {
            figures.into_iter().map(|(name, values)| (name, median(values))).collect()
        };
        Ok(seen.into_iter().map(|(side, figures)| (side, medians(figures))).collect())
    }

    /// etcd as a server of its own.
    pub(crate) fn serve(&self, directory: &Path) -> Result<Running> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(&self.peer);
        command.arg("serve").arg(directory).arg(port.to_string());
        let mut running = Running::start(command)?;
        running.url = format!("http://127.0.0.1:{port}");
        let line = running.line()?;
        ensure!(line == "ready", "etcd says {line:?}");
        Ok(running)
    }
}

fn figure(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.split_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    shown: String,
    /// Where it serves.
    pub(crate) url: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let shown = shown(&command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(shown.clone())?;
        let lines = BufReader::new(child.stdout.take().context("standard output")?).lines();
        Ok(Self { child, lines, shown, url: String::new() })
    }

    /// Its next line of output.
    pub(crate) fn line(&mut self) -> Result<String> {
        self.lines.next().with_context(|| format!("`{}` ended", self.shown))?.context("output")
    }

    /// Its resident memory.
    pub(crate) fn resident_kibibytes(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("VmRSS")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
