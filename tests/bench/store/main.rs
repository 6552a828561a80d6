//! `make bench-store`: the store against etcd, the same work on both sides in one run. Asserts nothing.
//!
//! Each case is a process of its own on a fresh directory: `store-load` (knarr's store, in process, as the API server uses
//! it) and `etcd-peer`, once with etcd in the process that loads it and once as etcd is used, by its client over loopback.
//! A figure is the median of three alternating runs.

mod idle;
mod puts;
mod reads;
mod rest;
mod side;
mod steady;

use std::process::ExitCode;

use anyhow::Result;

use crate::side::Sides;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-store: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let sides = Sides::new()?;
    puts::all_levels(&sides)?;
    reads::ranges(&sides)?;
    reads::watches(&sides)?;
    rest::memory(&sides)?;
    rest::reopen(&sides)?;
    idle::node()?;
    steady::amplification(&sides)
}
