//! Bytes written to the device per acknowledged byte, at a rate that both sides keep up with.

use anyhow::{Context, Result};
use knarr_tests::figures::print;

use crate::side::{Running, Side, Sides, path};
use knarr_tests::small_disk::SmallDisk;

/// 2,000 puts of 1 KiB per second; measured from minute 6 to 16: five minutes of history are kept.
const CASE: [&str; 5] = ["steady", "2000", "1024", "6", "16"];
/// The key `/registry/pods/default/pod-000000` and the value.
const ACKNOWLEDGED: f64 = 33.0 + 1024.0;

/// Both sides at the same time, each on a disk of its own.
pub(crate) fn amplification(sides: &Sides) -> Result<()> {
    let mount = sides.directory()?;
    let disk = |name: &str| SmallDisk::new(sides.directory()?, "8G", &mount.path().join(name), "defaults");
    let (own, others) = (disk("ours")?, disk("peer")?);
    let server = sides.serve(&others.path().join("etcd"))?;
    let mut ours = Run::start(sides, Side::Ours, &path(&own.path().join("store")), &own)?;
    let mut peer = Run::start(sides, Side::AsUsed, &server.url, &others)?;
    ours.mark()?;
    peer.mark()?;
    let (ours, peer) = (ours.factor()?, peer.factor()?);
    print("written_per_acknowledged_byte", ours, None, Some("<=2"));
    print("written_per_acknowledged_byte_against_etcd", ours, Some(peer), None);
    Ok(())
}

struct Run<'a> {
    load: Running,
    disk: &'a SmallDisk,
    puts: f64,
    written: f64,
}

impl<'a> Run<'a> {
    fn start(sides: &Sides, side: Side, target: &str, disk: &'a SmallDisk) -> Result<Self> {
        let load = Running::start(sides.command(side, &CASE, target))?;
        Ok(Self { load, disk, puts: 0.0, written: 0.0 })
    }

    /// Waits for the next of the case's minutes.
    fn mark(&mut self) -> Result<()> {
        let line = self.load.line()?;
        self.puts = line.strip_prefix("puts ").context("puts")?.parse()?;
        self.written = self.disk.written()?;
        Ok(())
    }

    /// What was written from the last minute marked to the next, per byte acknowledged.
    fn factor(&mut self) -> Result<f64> {
        let (puts, written) = (self.puts, self.written);
        self.mark()?;
        Ok((self.written - written) / ((self.puts - puts) * ACKNOWLEDGED))
    }
}
