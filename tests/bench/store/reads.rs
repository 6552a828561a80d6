//! Ranges and watches.

use anyhow::{Context, Result};
use knarr_tests::figures::print;

use crate::side::{Side, Sides};

pub(crate) fn ranges(sides: &Sides) -> Result<()> {
    compare(sides, &["range", "1024", "3"], "range_10000_keys_", "per_second")
}

/// One write to a thousand watchers.
pub(crate) fn watches(sides: &Sides) -> Result<()> {
    compare(sides, &["watch", "1000", "500", "1024"], "watch_1000_", "deliveries_per_second")
}

/// The goal is set against etcd as it is used; beside it, without a goal, etcd in process.
fn compare(sides: &Sides, case: &[&str], prefix: &str, figure: &str) -> Result<()> {
    let medians = sides.medians(case)?;
    let of = |side| medians.get(&side).and_then(|of| of.get(figure)).copied().context("a figure");
    let ours = of(Side::Ours)?;
    print(&format!("{prefix}{figure}_as_used"), ours, Some(of(Side::AsUsed)?), Some(">=5"));
    print(&format!("{prefix}{figure}_in_process"), ours, Some(of(Side::Embedded)?), None);
    Ok(())
}
