//! `make bench-node`: the figures of one node, a line each. Asserts nothing.

mod pods;
mod rest;
mod start;
mod writes;

use std::process::ExitCode;

use anyhow::Result;
use knarr_tests::suite::OwnLab;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-node: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    start::cold()?;
    let own = OwnLab::new(&[])?;
    own.up()?;
    start::restart(own.lab())?;
    rest::memory_and_cpu(own.lab())?;
    pods::latency(own.lab())?;
    writes::creates(own.lab())?;
    writes::watchers(own.lab())
}
