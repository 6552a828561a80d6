//! A lab that goes with the process that made it.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use rand::Rng;

use super::beside;
use crate::lab::Lab;
use crate::wait::until;

/// In the directory of a lab's files, until the lab is reset: locked by the process that uses the lab, and by the kernel for
/// as long as that process lives.
const IN_USE: &str = "in-use";

/// A lab of a random name that is reset when this is dropped. What a killed process left is reset by the next one.
pub struct OwnLab {
    lab: Lab,
    keep: bool,
    _in_use: Flock<File>,
}

impl OwnLab {
    /// Prepares the lab with the programs built beside the running one.
    ///
    /// # Errors
    /// When a program is not built.
    pub fn new(arguments: &[&str]) -> Result<Self> {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = rand::rng();
        let letter = |_| char::from(LETTERS.get(random.random_range(0..LETTERS.len())).copied().unwrap_or(b'a'));
        let name = format!("kt-{}", (0..8).map(letter).collect::<String>());
        let (knarr, _) = (beside("knarr")?, beside("images")?);
        let labs = knarr.parent().and_then(Path::parent).unwrap_or(Path::new("target")).join("lab");
        fs::create_dir_all(&labs)?;
        // One process after the other, so that none finds a lab's file before it is locked.
        let _turn = lock(File::open(&labs)?, FlockArg::LockExclusive)?;
        reset_orphans(&labs, &knarr)?;
        let files = labs.join(&name);
        fs::create_dir(&files)?;
        let in_use = lock(File::create(files.join(IN_USE))?, FlockArg::LockExclusive)?;
        let lab = Lab::new(&name, &knarr, &files)?.with_arguments(arguments);
        Ok(Self { lab, keep: std::env::var_os("KNARR_KEEP_LAB").is_some(), _in_use: in_use })
    }

    /// Adds arguments to those of the server, for its next start.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.lab = self.lab.clone().with_arguments(arguments);
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Starts the lab and waits until its node can run pods.
    ///
    /// # Errors
    /// When that takes too long; with the end of the server's log.
    pub fn up(&self) -> Result<()> {
        self.lab.up()?;
        until("the node is Ready", Duration::from_secs(60), || {
            self.lab
                .kubectl_output(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=30s"])
                .map_err(|error| format!("{error:#}"))
        })
        .with_context(|| self.lab.log_tail())
        .map(drop)
    }
}

impl Drop for OwnLab {
    fn drop(&mut self) {
        let files = self.lab.paths().files();
        if self.keep {
            // Without that file it is nobody's to reset but the user's.
            let _ = fs::remove_file(files.join(IN_USE));
            eprintln!("kept: KUBECONFIG={}", self.lab.paths().kubeconfig().display());
        } else {
            reset(&self.lab);
        }
    }
}

/// Resets the labs whose processes have ended without doing so.
fn reset_orphans(labs: &Path, knarr: &Path) -> Result<()> {
    for entry in fs::read_dir(labs)? {
        let files = entry?.path();
        let Ok(file) = File::open(files.join(IN_USE)) else { continue };
        let Ok(_ended) = lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        let name = files.file_name().unwrap_or_default().to_string_lossy();
        eprintln!("resetting the lab {name} of a run that was killed ...");
        reset(&Lab::new(&name, knarr, &files)?);
    }
    Ok(())
}

fn reset(lab: &Lab) {
    let files = lab.paths().files();
    let removed = lab.reset().and_then(|()| Ok(fs::remove_file(files.join(IN_USE))?));
    if let Err(error) = removed {
        eprintln!("the lab {} resists its reset: {error:#}", lab.name());
        return;
    }
    // Empty after the reset; when it is not, what is in it is worth looking at.
    let _ = fs::remove_dir(files);
}

fn lock(file: File, how: FlockArg) -> Result<Flock<File>> {
    Flock::lock(file, how).map_err(|(_, error)| error).context("cannot lock a lab")
}
