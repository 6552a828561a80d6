//! A small disk of its own: what is written to it is what its users wrote, journal and all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use knarr_tests::command::run;
use tempfile::TempDir;

/// An ext4 on a loop device, mounted until this is dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    device: String,
    mount: PathBuf,
    _image: TempDir,
}

impl SmallDisk {
    /// Makes one of `size` (as `truncate` takes it) whose image is in `place`, and mounts it at `mount`.
    pub(crate) fn new(place: TempDir, size: &str, mount: &Path) -> Result<Self> {
        let image = place.path().join("disk");
        let (image, mount_path) = (image.to_string_lossy(), mount.to_string_lossy());
        fs::create_dir_all(mount)?;
        run("truncate", &["-s", size, &image])?;
        run("mke2fs", &["-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image])?;
        let device = run("losetup", &["--find", "--show", &image])?.trim().to_owned();
        let disk = Self { device, mount: mount.to_owned(), _image: place };
        run("mount", &["-t", "ext4", &disk.device, &mount_path])?;
        fs::remove_dir(mount.join("lost+found"))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes written to the device so far.
    pub(crate) fn written(&self) -> Result<f64> {
        let name = Path::new(&self.device).file_name().context("a device")?;
        let stat = fs::read_to_string(Path::new("/sys/block").join(name).join("stat"))?;
        let sectors: f64 = stat.split_whitespace().nth(6).context("sectors written")?.parse()?;
        Ok(sectors * 512.0)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for command in [["umount", &self.mount.to_string_lossy()], ["losetup", &format!("--detach={}", self.device)]] {
            if let Err(error) = run(command[0], &command[1..]) {
                eprintln!("bench-store: {error:#}");
            }
        }
    }
}
