//! Durable puts of 1 KiB.

use anyhow::{Context, Result};
use knarr_tests::figures::print;

use crate::side::{Side, Sides};

/// Clients, puts, and how many times etcd's rate is the goal: in process and as used.
const LEVELS: [(u32, u32, &str, &str); 4] =
    [(1, 4_000, ">=1", ">=1"), (8, 20_000, ">=1", ">=1"), (64, 60_000, ">=1.5", ">=3"), (512, 100_000, ">=1", ">=1")];

pub(crate) fn all_levels(sides: &Sides) -> Result<()> {
    for (clients, puts, embedded_goal, as_used_goal) in LEVELS {
        let medians = sides.medians(&["puts", &clients.to_string(), &puts.to_string(), "1024"])?;
        let of = |side, figure: &str| medians.get(&side).and_then(|of| of.get(figure)).copied().context("a figure");
        for (peer, how, goal) in
            [(Side::Embedded, "in_process", embedded_goal), (Side::AsUsed, "as_used", as_used_goal)]
        {
            for (figure, goal) in [("per_second", goal), ("p99_milliseconds", "<=1")] {
                let name = format!("put_{clients}_clients_{figure}_{how}");
                print(&name, of(Side::Ours, figure)?, Some(of(peer, figure)?), Some(goal));
            }
        }
    }
    Ok(())
}
