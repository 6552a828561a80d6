//! Where a lab keeps its files, and who owns it.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::listen;

/// The directories and files of one lab.
#[derive(Clone, Debug)]
pub struct Paths {
    state: PathBuf,
    run: PathBuf,
    files: PathBuf,
}

impl Paths {
    pub(super) fn new(name: &str, files: &Path) -> Self {
        Self {
            state: Path::new("/var/lib").join(name),
            run: Path::new("/run").join(name),
            files: std::path::absolute(files).unwrap_or_else(|_| files.to_owned()),
        }
    }

    /// The node's state; survives power cuts.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Sockets and pids; gone after a reboot of the machine.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// What scripts use: the directory of the files below.
    #[must_use]
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// The administrator's kubeconfig, for use in the machine's own namespace.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.join("kubeconfig")
    }

    /// Holds the pid of the server.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.files.join("knarr.pid")
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.files.join("knarr.log")
    }

    pub(super) fn address_file(&self) -> PathBuf {
        self.run.join("address")
    }

    pub(super) fn holder_pid_file(&self) -> PathBuf {
        self.run.join("holder.pid")
    }

    fn owner_file(&self) -> PathBuf {
        self.state.join("lab-owner")
    }

    /// Makes the directories and marks them as this checkout's.
    pub(super) fn claim(&self) -> Result<()> {
        self.check_owner()?;
        for directory in [&self.state, &self.run, &self.files] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        if !self.owner_file().exists() {
            fs::write(self.owner_file(), self.files.to_string_lossy().as_bytes())?;
        }
        Ok(())
    }

    /// Refuses a lab that belongs to another checkout.
    pub(super) fn check_owner(&self) -> Result<()> {
        let Ok(owner) = fs::read_to_string(self.owner_file()) else {
            if is_used(&self.state) {
                bail!("{} exists and is no lab's: choose another LAB=name", self.state.display());
            }
            return Ok(());
        };
        if Path::new(&owner) != self.files {
            bail!("{} is the lab of {owner}: choose another LAB=name, or reset it from there", self.state.display());
        }
        Ok(())
    }

    /// A listener for kubectl: the port of the last start when it is still free, so that kubeconfigs stay valid. Only the
    /// usual lab begins with the usual port: while a server is down, another lab would take it.
    pub(super) fn listener(&self) -> Result<TcpListener> {
        let last = fs::read_to_string(self.address_file()).ok();
        let port = last.and_then(|address| address.rsplit(':').next()?.trim().parse().ok());
        let first = if self.state.ends_with(super::USUAL_NAME) { 6443 } else { 0 };
        listen(port.unwrap_or(first))
    }

    pub(super) fn write_private(&self, path: &Path, text: &str) -> Result<()> {
        let open = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path);
        open.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the node's state, but for the lab's own files and the images for the node.
    pub(super) fn wipe(&self) -> Result<()> {
        for entry in fs::read_dir(&self.state)? {
            let path = entry?.path();
            if path == self.owner_file() || path.ends_with("images") {
                continue;
            }
            let removed = if path.is_dir() { remove_tree(&path) } else { Ok(fs::remove_file(&path)?) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes state, sockets and the files for scripts; never follows a mount to another file system.
    pub(super) fn remove(&self) -> Result<()> {
        for directory in [&self.run, &self.state] {
            remove_tree(directory)?;
        }
        for file in [self.kubeconfig(), self.pid_file(), self.log()] {
            super::remove_file(&file)?;
        }
        Ok(())
    }
}

fn is_used(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// `rm -rf --one-file-system`, which fails on what it had to leave.
fn remove_tree(directory: &Path) -> Result<()> {
    let Ok(top) = fs::symlink_metadata(directory) else { return Ok(()) };
    remove_below(directory, top.dev())?;
    fs::remove_dir(directory).with_context(|| format!("cannot remove {}", directory.display()))
}

fn remove_below(directory: &Path, device: u64) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            bail!("{} is on another file system: unmount it first", path.display());
        }
        let removed = if metadata.is_dir() {
            remove_below(&path, device)?;
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
