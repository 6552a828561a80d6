//! Scheduled snapshots, and how many of them are kept.

use std::convert::Infallible;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use knarr_base::Shutdown;
use knarr_client::events::{Recorder, Type};
use knarr_store::snapshot::Passphrase;

use super::settings::Settings;
use super::snapshots::Snapshots;
use crate::snapshot::place::NODE_NAME;
use crate::snapshot::schedule::{Flags, Times};
use crate::snapshot::target::{PARTIAL, Target};
use crate::snapshot::{SUFFIX, check_passphrase, read_passphrase};

/// How often the wall clock is looked at: it may be set at any moment.
const LOOK: Duration = Duration::from_secs(60);

/// When in the name of a snapshot: sorts as the time does.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// Makes snapshots when it is time.
pub(super) struct Schedule {
    snapshots: Arc<Snapshots>,
    flags: Flags,
    kept: Kept,
    /// When this node came to be: nothing was missed before.
    born: Timestamp,
    node: String,
    recorder: Recorder,
}

impl Schedule {
    pub(super) fn new(settings: &Settings, snapshots: Arc<Snapshots>, recorder: Recorder) -> Self {
        let flags = settings.arguments.snapshots.clone();
        let directory = flags.snapshot_dir.clone().unwrap_or_else(|| settings.data("snapshots"));
        let born = fs::metadata(settings.data(NODE_NAME)).and_then(|file| file.modified()).ok();
        let born = born.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_else(Timestamp::now);
        let kept = Kept { directory, prefix: format!("scheduled-{}-", settings.node) };
        Self { snapshots, flags, kept, born, node: settings.node.clone(), recorder }
    }

    /// Runs until the drain starts. What fails is told, and tried again when it is time again.
    pub(super) async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        let times = &self.flags.snapshot_schedule;
        if times.0.is_none() {
            shutdown.wait().await;
            return Ok(());
        }
        if self.flags.snapshot_passphrase_file.is_none() {
            tracing::info!("scheduled snapshots are without the cluster's keys: --snapshot-passphrase-file adds them");
        }
        let kept = self.kept.clone();
        // A directory that cannot be read will be told of when it is to be written.
        let newest = blocking(move || Ok(kept.list()?.pop())).await.unwrap_or_default();
        let mut last = newest.map_or(self.born, |(time, _)| time);
        loop {
            let now = Timestamp::now();
            let wait = match wait(times, &mut last, now) {
                Some(wait) => wait,
                None if shutdown.or(self.make(now)).await.is_none() => return Ok(()),
                None => continue,
            };
            if shutdown.or(tokio::time::sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn make(&self, now: Timestamp) {
        let made = self.try_make(now).await;
        if let Err(error) = made {
            tracing::error!("the scheduled snapshot has failed: {error:#}");
            let node = ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(self.node.clone()),
                uid: Some(self.node.clone()),
                ..ObjectReference::default()
            };
            self.recorder.event_on(node, Type::Warning, "SnapshotFailed", format!("scheduled snapshot: {error:#}"));
        }
    }

    async fn try_make(&self, now: Timestamp) -> Result<()> {
        let (kept, passphrase_file) = (self.kept.clone(), self.flags.snapshot_passphrase_file.clone());
        let (target, passphrase) = blocking(move || {
            let passphrase = passphrase_file.as_deref().map(passphrase).transpose()?;
            kept.clear()?;
            Ok((Target::new(&kept.path(now))?, passphrase))
        })
        .await?;
        let summary = self.snapshots.save(target, passphrase).await?;
        let (path, revision, objects) = (self.kept.path(now), summary.head.revision, summary.objects);
        tracing::info!(path = %path.display(), revision, objects, "made the scheduled snapshot");
        let (kept, retention) = (self.kept.clone(), self.flags.snapshot_retention);
        blocking(move || kept.prune(retention)).await
    }
}

fn passphrase(file: &Path) -> Result<Passphrase> {
    let text = read_passphrase(file)?;
    check_passphrase(&text)?;
    Passphrase::new(&text).context("the passphrase is empty")
}

/// The directory may be on a disk, or a server, that does not answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// How long it is until the next look, at most until it is time again; `None` when it is time, which has been taken then.
fn wait(times: &Times, last: &mut Timestamp, now: Timestamp) -> Option<Duration> {
    // A clock that was set back makes nobody wait until it is where it was.
    *last = now.min(*last);
    let Some(due) = times.after(*last) else { return Some(LOOK) };
    match Duration::try_from(due.duration_since(now)) {
        Ok(left) if !left.is_zero() => Some(left.min(LOOK)),
        _ => {
            *last = now;
            None
        }
    }
}

/// The scheduled snapshots of this node: no others are ever removed.
#[derive(Clone)]
struct Kept {
    directory: PathBuf,
    prefix: String,
}

impl Kept {
    fn path(&self, time: Timestamp) -> PathBuf {
        self.directory.join(format!("{}{}{SUFFIX}", self.prefix, time.strftime(STAMP)))
    }

    /// All there are, oldest first.
    fn list(&self) -> Result<Vec<(Timestamp, PathBuf)>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot read {}", self.directory.display()))?,
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let mut found: Vec<_> = paths.into_iter().filter_map(|path| Some((self.time_of(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }

    fn time_of(&self, path: &Path) -> Option<Timestamp> {
        let stamp = path.file_name()?.to_str()?.strip_prefix(&self.prefix)?.strip_suffix(SUFFIX)?;
        let time = jiff::civil::DateTime::strptime(STAMP, stamp).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }

    /// Makes the directory, and removes what a killed server left half.
    fn clear(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.with_context(|| format!("cannot make {}", self.directory.display()))?;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&format!(".{}", self.prefix)) && name.ends_with(PARTIAL) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Removes the oldest until so many are left; none when that is 0.
    fn prune(&self, retention: usize) -> Result<()> {
        let mut all = self.list()?;
        let left = if retention == 0 { all.len() } else { retention.min(all.len()) };
        all.truncate(all.len() - left);
        for (_, path) in all {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_time_once_for_whatever_was_missed() {
        let times: Times = "0 */12 * * * UTC".parse().unwrap();
        let mut last = at("2026-11-01T00:00:00Z");
        for (now, expected) in [
            ("2026-11-01T11:59:50Z", Some(10)),
            ("2026-11-01T12:00:00Z", None),
            ("2026-11-01T12:00:00Z", Some(60)),
            // Off for three days: made up for once.
            ("2026-11-04T13:00:00Z", None),
            ("2026-11-04T13:00:00Z", Some(60)),
            // The clock was wrong, and is set back.
            ("2026-11-02T13:00:00Z", Some(60)),
            ("2026-11-03T00:00:01Z", None),
        ] {
            assert_eq!(wait(&times, &mut last, at(now)).map(|wait| wait.as_secs()), expected, "{now}");
        }
    }

    #[test]
    fn only_the_oldest_of_the_own_scheduled_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept { directory: directory.path().join("snapshots"), prefix: "scheduled-edge-".to_owned() };
        assert!(kept.list().unwrap().is_empty());
        kept.clear().unwrap();
        let others = [
            "by-hand.snapshot",
            "scheduled-edge-1-20261101T000000Z.snapshot",
            "scheduled-edge-20261101T000000Z.snapshot.kept",
            "scheduled-edge-before-upgrade.snapshot",
        ];
        for name in others.iter().chain(&[".scheduled-edge-20261101T000000Z.snapshot.x.partial"]) {
            fs::write(kept.directory.join(name), "").unwrap();
        }
        for day in 1..5 {
            fs::write(kept.path(at(&format!("2026-11-0{day}T12:00:00Z"))), "").unwrap();
        }
        kept.clear().unwrap();
        kept.prune(0).unwrap();
        assert_eq!(kept.list().unwrap().len(), 4);
        kept.prune(2).unwrap();
        let left: Vec<_> = kept.list().unwrap().into_iter().map(|(time, _)| time.to_string()).collect();
        assert_eq!(left, ["2026-11-03T12:00:00Z", "2026-11-04T12:00:00Z"]);
        assert_eq!(fs::read_dir(&kept.directory).unwrap().count(), 2 + others.len());
    }
}
