//! A small disk of its own: what is written to it is what its users wrote, journal and all, and the power of it can be cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::run;
use crate::wait::until;

/// An ext4 on a loop device, mounted until this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    device: String,
    mount: PathBuf,
    image: TempDir,
}

impl SmallDisk {
    /// Makes one of `size` (as `truncate` takes it) whose image is in `place`, and mounts it at `mount` with these options.
    ///
    /// # Errors
    /// When a command fails.
    pub fn new(place: TempDir, size: &str, mount: &Path, options: &str) -> Result<Self> {
        let image = image(&place);
        run("truncate", &["-s", size, &image])?;
        run("mke2fs", &["-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image])?;
        let disk = Self::mounted(place, mount, options)?;
        fs::remove_dir(mount.join("lost+found"))?;
        Ok(disk)
    }

    /// The disk as it would be found after a power cut now, mounted at `mount`: a copy that has what the device has, and
    /// nothing of what the kernel still holds back. Who writes must have been stopped.
    ///
    /// # Errors
    /// When a command fails.
    pub fn after_power_cut(&self, place: TempDir, mount: &Path, options: &str) -> Result<Self> {
        let name = Path::new(&self.device).file_name().context("a device")?;
        let in_flight = Path::new("/sys/block").join(name).join("inflight");
        until("nothing is on its way to the device", Duration::from_secs(60), || {
            let told = fs::read_to_string(&in_flight).map_err(|error| error.to_string())?;
            if told.split_whitespace().all(|number| number == "0") { Ok(()) } else { Err(told) }
        })?;
        run("cp", &["--sparse=always", &image(&self.image), &image(&place)])?;
        Self::mounted(place, mount, options)
    }

    fn mounted(place: TempDir, mount: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(mount)?;
        let device = run("losetup", &["--find", "--show", &image(&place)])?.trim().to_owned();
        // From here on, dropping it cleans up, whether it is mounted or not.
        let disk = Self { device, mount: mount.to_owned(), image: place };
        run("mount", &["-t", "ext4", "-o", options, &disk.device, &mount.to_string_lossy()])?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes written to the device so far.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn written(&self) -> Result<f64> {
        let name = Path::new(&self.device).file_name().context("a device")?;
        let stat = fs::read_to_string(Path::new("/sys/block").join(name).join("stat"))?;
        let sectors: f64 = stat.split_whitespace().nth(6).context("sectors written")?.parse()?;
        Ok(sectors * 512.0)
    }
}

fn image(place: &TempDir) -> String {
    place.path().join("disk").to_string_lossy().into_owned()
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for command in [["umount", &self.mount.to_string_lossy()], ["losetup", &format!("--detach={}", self.device)]] {
            if let Err(error) = run(command[0], &command[1..]) {
                eprintln!("{error:#}");
            }
        }
    }
}
