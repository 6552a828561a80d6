//! Memory with many objects, and the time of a start with a long log.

use anyhow::{Result, ensure};
use knarr_tests::command::output;
use knarr_tests::figures::{median, print};

use crate::side::{Running, Side, Sides, path};

/// Resident memory with 100,000 objects of 2 KiB.
pub(crate) fn memory(sides: &Sides) -> Result<()> {
    let case = ["fill", "100000", "2048"];
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let directory = sides.directory()?;
        let mut running = Running::start(sides.command(Side::Ours, &case, &path(directory.path())))?;
        ensure!(running.line()? == "filled", "not filled");
        ours.push(running.resident_kibibytes()?);
        drop(running);
        let directory = sides.directory()?;
        let server = sides.serve(directory.path())?;
        output(&mut sides.command(Side::AsUsed, &case, &server.url))?;
        peer.push(server.resident_kibibytes()?);
    }
    print("resident_100000_objects_kibibytes", median(ours), Some(median(peer)), Some("<=0.25"));
    Ok(())
}

/// A start with one GiB of log.
pub(crate) fn reopen(sides: &Sides) -> Result<()> {
    let printed = sides.once(Side::Ours, &["reopen", "10000"])?;
    for (figure, goal) in
        [("orderly_seconds", Some("<=2")), ("crashed_seconds", Some("<=2")), ("without_index_seconds", None)]
    {
        if let Some(seconds) = printed.get(figure) {
            print(&format!("reopen_1_gib_{figure}"), *seconds, None, goal);
        }
    }
    Ok(())
}
