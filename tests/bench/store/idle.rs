//! What an idle node writes.

use std::time::Duration;

use anyhow::Result;
use knarr_tests::figures::print;
use knarr_tests::suite::OwnLab;

use knarr_tests::small_disk::SmallDisk;

const SETTLES: Duration = Duration::from_secs(120);
const MINUTES: u32 = 5;

/// An idle node, its containerd included, by the counter of a disk that holds nothing but its state.
pub(crate) fn node() -> Result<()> {
    let own = OwnLab::new(&[])?;
    let disk = SmallDisk::new(tempfile::tempdir_in("/var/lib")?, "4G", own.lab().paths().state(), "defaults")?;
    let written = written_per_minute(&own, &disk);
    // The disk can only be unmounted when nobody uses it any more.
    own.lab().power_off()?;
    print("idle_node_written_kibibytes_per_minute", written? / 1024.0, None, Some("<=100"));
    Ok(())
}

fn written_per_minute(own: &OwnLab, disk: &SmallDisk) -> Result<f64> {
    own.up()?;
    std::thread::sleep(SETTLES);
    let before = disk.written()?;
    std::thread::sleep(Duration::from_secs(60) * MINUTES);
    Ok((disk.written()? - before) / f64::from(MINUTES))
}
