//! What is wrong with the directory of a store, and making a sound one of what is left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::engine::Options;
use crate::error::Error;
use crate::log::build::build;
use crate::log::disk::{Directory, Disk};
use crate::log::format::{Position, SEGMENT_HEADER};
use crate::log::recovery;
pub use crate::log::salvage::Damage;
use crate::log::salvage::{Salvage, salvage};
use crate::model::Revision;

/// What a look at a store found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// What cannot be read though it was safe on disk. Nothing in a sound store, even after a power cut.
    pub damage: Vec<Damage>,
    /// What a repair loses: the changes of these revisions, first and last; without an end when nothing follows that can be
    /// read. A key that was written again later has lost nothing; any other one is as it was before.
    pub lost: Vec<(Revision, Option<Revision>)>,
    /// How many keys there are, or are left.
    pub keys: usize,
}

/// Reads the whole log. Changes nothing.
///
/// # Errors
/// When there is no store in the directory, when it is in use, or when nothing of it can be read.
pub fn check(directory: &Path) -> Result<Findings, Error> {
    Ok(look(&open(directory)?)?.0)
}

/// Makes a sound store of what can be read of a damaged one, and keeps the damaged one beside it: the path says where. A
/// sound store is left alone. Safe to repeat, whenever it was interrupted.
///
/// # Errors
/// As [`check`]; or when the other store cannot be written.
pub fn repair(directory: &Path) -> Result<(Findings, Option<PathBuf>), Error> {
    let (findings, salvage) = look(&open(directory)?)?;
    if findings.damage.is_empty() {
        return Ok((findings, None));
    }
    let unusable = |error: io::Error| Error::Open(format!("cannot replace {}: {error}", directory.display()));
    let other = beside(directory, "repaired");
    // What an interrupted repair left may be the damaged store itself.
    set_aside(&other, directory).map_err(unusable)?;
    let disk = Arc::new(Directory::open(&other)?);
    build(disk, Options::default().segment_size, salvage.revision, salvage.records())?;
    // One step: at no time is there no store where one is expected.
    renameat2(AT_FDCWD, &other, AT_FDCWD, directory, RenameFlags::RENAME_EXCHANGE).map_err(|e| unusable(e.into()))?;
    let kept = set_aside(&other, directory).map_err(unusable)?;
    Ok((findings, kept))
}

fn open(directory: &Path) -> Result<Arc<dyn Disk>, Error> {
    let nothing = || Error::Open(format!("there is no store in {}", directory.display()));
    if !directory.is_dir() {
        return Err(nothing());
    }
    let disk = Arc::new(Directory::open(directory)?);
    let numbers = recovery::numbers(disk.as_ref()).map_err(|_| nothing())?;
    if numbers.is_empty() { Err(nothing()) } else { Ok(disk) }
}

/// The log is damaged when a server would not start with it.
fn look(disk: &Arc<dyn Disk>) -> Result<(Findings, Salvage), Error> {
    // First, because it never changes anything: there is a log when it finds one.
    let salvage = salvage(Arc::clone(disk))?;
    let strict = recovery::find(Arc::clone(disk), Options::default().segment_size).and_then(|found| {
        let first = found.log.headers().first().map_or(1, |first| first.number);
        found.read(Position::new(first, SEGMENT_HEADER), |_, _| Ok(()))
    });
    let (damage, lost) = match strict {
        Ok(_) => Default::default(),
        Err(Error::Damaged { .. }) => (salvage.damage.clone(), salvage.lost.clone()),
        Err(error) => return Err(error),
    };
    Ok((Findings { damage, lost, keys: salvage.keys() }, salvage))
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    directory.with_file_name(name)
}

/// Gives the `other` directory, if there is one, a name that is free and never used again.
fn set_aside(other: &Path, directory: &Path) -> io::Result<Option<PathBuf>> {
    if !other.exists() {
        return Ok(None);
    }
    let names = (1..=u16::MAX).map(|number| beside(directory, &format!("damaged-{number}")));
    let kept = names.into_iter().find(|path| !path.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(other, &kept)?;
    sync_parent(directory)?;
    Ok(Some(kept))
}

fn sync_parent(directory: &Path) -> io::Result<()> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
