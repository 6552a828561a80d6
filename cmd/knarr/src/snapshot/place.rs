//! Where a restore puts things, in steps of which none can be half done.
//!
//! Everything is made in `restoring`, synced, and becomes `restored` by one rename. From then on the restore has happened:
//! what is left is moving the parts to their places in the data directory, and whoever comes first does it, also after a
//! power cut. A server refuses to start beside a `restoring`.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use knarr_pki::disk::{self, Access};
use nix::fcntl::{Flock, FlockArg};

/// The store, in the data directory.
pub(crate) const STORE: &str = "store";
/// The name of the node.
pub(crate) const NODE_NAME: &str = "node-name";
/// What objects are sealed with.
pub(crate) const SEALING: &str = "encryption-config.yaml";

/// Files that make a cluster the same one, wherever it runs: all that was ever signed or sealed is by these. Certificates
/// other than the authorities' are made anew from them.
pub(crate) const KEYS: [(&str, Access); 7] = [
    ("pki/ca.crt", Access::Public),
    ("pki/ca.key", Access::Private),
    ("pki/front-proxy-ca.crt", Access::Public),
    ("pki/front-proxy-ca.key", Access::Private),
    ("pki/sa.key", Access::Private),
    ("pki/sa.pub", Access::Public),
    (SEALING, Access::Private),
];

const RESTORING: &str = "restoring";
const RESTORED: &str = "restored";

/// Finishes a restore that was interrupted when it had happened already.
///
/// # Errors
/// When one was interrupted before: then there is no node here.
pub(crate) fn settle(data: &Path) -> Result<()> {
    let (restoring, restored) = (data.join(RESTORING), data.join(RESTORED));
    if restoring.exists() {
        let (data, restoring) = (data.display(), restoring.display());
        bail!("a restore into {data} runs or was interrupted: repeat it, or remove {restoring}");
    }
    if !restored.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&restored)? {
        let entry = entry?;
        let place = data.join(entry.file_name());
        fs::rename(entry.path(), &place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    sync(data)?;
    fs::remove_dir(&restored)?;
    sync(data)
}

/// A data directory into which something is restored.
pub(super) struct Place {
    data: PathBuf,
    /// Whether what was made is to stay.
    is_done: bool,
    _alone: Flock<File>,
}

impl Place {
    /// Fails, without touching anything, where a node is; `with_keys` when one's keys are, too.
    pub(super) fn check(data: &Path, with_keys: bool) -> Result<()> {
        let keys = KEYS.iter().map(|(name, _)| *name).chain([NODE_NAME]).filter(|_| with_keys);
        let mut taken = [STORE, RESTORED].into_iter().chain(keys).map(|name| data.join(name));
        match taken.find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => bail!("{} exists: a snapshot is restored where no node is, nor was", path.display()),
            None => Ok(()),
        }
    }

    /// Makes room. What a former restore left before it had happened goes.
    pub(super) fn take(data: &Path, with_keys: bool) -> Result<Self> {
        make(data, 0o711)?;
        let directory = File::open(data)?;
        let Ok(alone) = Flock::lock(directory, FlockArg::LockExclusiveNonblock) else {
            bail!("another restore into {} runs", data.display());
        };
        // Somebody may have come since.
        Self::check(data, with_keys)?;
        let place = Self { data: data.to_owned(), is_done: false, _alone: alone };
        place.clear()?;
        make(&place.at(""), 0o700)?;
        Ok(place)
    }

    /// Where something is made.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.data.join(RESTORING).join(name)
    }

    /// Makes a file, unless there is one in the data directory.
    pub(super) fn write(&self, name: &str, content: &str, access: Access) -> Result<()> {
        if self.data.join(name).exists() {
            return Ok(());
        }
        let path = self.at(name);
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            make(parent, 0o755)?;
        }
        Ok(disk::write(&path, content, access)?)
    }

    /// Puts everything in its place.
    pub(super) fn commit(mut self) -> Result<()> {
        sync(&self.at(""))?;
        fs::rename(self.at(""), self.data.join(RESTORED))?;
        self.is_done = true;
        sync(&self.data)?;
        settle(&self.data)
    }

    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(self.at("")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.at("").display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = self.clear()
        {
            eprintln!("knarr: {error:#}");
        }
    }
}

/// What a snapshot's file may be called, and who may read it.
pub(super) fn access_of(name: &str) -> Result<Access> {
    let known = KEYS.iter().find(|(known, _)| *known == name);
    ensure!(known.is_some(), "the snapshot has a file {name:?}, which this knarr does not know");
    Ok(known.map_or(Access::Private, |(_, access)| *access))
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(directory);
    let made = made.and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(mode)));
    made.with_context(|| format!("cannot make {}", directory.display()))
}

fn sync(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|open| open.sync_all())
        .with_context(|| format!("cannot sync {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(data: &Path) -> Vec<String> {
        let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    fn fill(place: &Place) {
        make(&place.at(STORE), 0o700).unwrap();
        fs::write(place.at(STORE).join("00000001.log"), "x").unwrap();
        place.write("pki/ca.key", "secret", Access::Private).unwrap();
        place.write(NODE_NAME, "edge-1", Access::Public).unwrap();
    }

    #[test]
    fn a_restore_happens_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("knarr");
        Place::check(&data, true).unwrap();
        let place = Place::take(&data, true).unwrap();
        fill(&place);
        assert!(
            settle(&data).unwrap_err().to_string().contains("runs or was interrupted"),
            "a server starts beside it"
        );
        assert!(Place::take(&data, true).is_err_and(|error| error.to_string().starts_with("another restore")));
        drop(place);
        assert_eq!(names(&data), [""; 0]);

        let place = Place::take(&data, true).unwrap();
        fill(&place);
        place.commit().unwrap();
        settle(&data).unwrap();
        assert_eq!(names(&data), [NODE_NAME, "pki", STORE]);
        assert_eq!(fs::read_to_string(data.join("pki/ca.key")).unwrap(), "secret");
        let refused = Place::check(&data, false).unwrap_err().to_string();
        assert!(refused.contains("/store exists"), "{refused}");
    }

    #[test]
    fn what_was_interrupted_is_finished_or_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let place = Place::take(data, true).unwrap();
        fill(&place);
        // As a power cut leaves it.
        std::mem::forget(place);
        fs::rename(data.join(RESTORING), data.join(RESTORED)).unwrap();
        fs::rename(data.join(RESTORED).join("pki"), data.join("pki")).unwrap();
        assert!(Place::check(data, false).is_err(), "what was restored is restored over");
        settle(data).unwrap();
        assert_eq!(names(data), [NODE_NAME, "pki", STORE]);
    }

    #[test]
    fn without_keys_those_that_are_there_stay() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        fs::write(data.join(NODE_NAME), "mine").unwrap();
        assert!(Place::check(data, true).is_err());
        let place = Place::take(data, false).unwrap();
        fill(&place);
        place.commit().unwrap();
        assert_eq!(fs::read_to_string(data.join(NODE_NAME)).unwrap(), "mine");
        assert!(access_of("pki/sa.key").is_ok() && access_of("../x").is_err());
    }
}
