//! The CNI plugin (<https://www.cni.dev/docs/spec/>) that containerd executes for each pod sandbox.
//!
//! It is a process of its own and needs no other: ADD and DEL work while `knarr server` is down. What it hands out is kept
//! as one file per address below the data directory ([`ipam`]).
//!
//! A pod gets a veth link to the node's bridge and an address without a network around it (`/32`, `/128`): everything that
//! it sends goes to the node's address on the bridge and is routed there. So a packet between two pods of one node passes
//! through IP and its connection tracking in both directions, and a Service translates addresses correctly whether
//! `bridge-nf-call-iptables` exists and is set or not.

mod attach;
mod host_port;
mod install;
mod ipam;
mod request;
mod result;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub use install::{Install, bin_dir, conf_dir, install, is_installed};
pub use request::{Command, Config, Failure, PortMapping, Protocol, Request};
pub use result::Version;

/// Runs the plugin as its caller asks in the environment and on standard input, and answers on standard output.
#[must_use]
pub fn main() -> ExitCode {
    let (answer, code) = match run() {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(failure) => (Some(failure.to_json()), ExitCode::FAILURE),
    };
    let Some(answer) = answer else { return code };
    // If the caller does not read its answer, the exit code is all that can still tell it.
    match std::io::stdout().write_all(answer.to_string().as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<Option<serde_json::Value>, Failure> {
    let mut input = Vec::new();
    std::io::stdin()
        .read_to_end(&mut input)
        .map_err(|error| Failure::new(Failure::IO, "cannot read standard input", error))?;
    Request::new(|name| std::env::var(name).ok(), &input).and_then(|request| answer(&request))
}

/// Carries out one request. `Ok(None)` is success without an answer.
///
/// # Errors
/// In the form that the specification gives.
pub fn answer(request: &Request) -> Result<Option<serde_json::Value>, Failure> {
    let loopback = request.config.kind == "loopback";
    match request.command {
        Command::Version => Ok(Some(Version::supported(&request.config.cni_version))),
        Command::Add if loopback => attach::loopback(request).map(Some),
        Command::Add => attach::add(request).map(Some),
        Command::Del | Command::Gc | Command::Status if loopback => Ok(None),
        Command::Del => attach::del(request).map(|()| None),
        Command::Check if loopback => attach::check_loopback(request).map(|()| None),
        Command::Check => attach::check(request).map(|()| None),
        Command::Gc => attach::gc(request).map(|()| None),
        Command::Status => attach::status(request).map(|()| None),
    }
}

/// Where the plugin keeps its own files, given in its configuration.
fn state_of(request: &Request) -> Result<PathBuf, Failure> {
    request.config.state_dir.clone().ok_or_else(|| {
        Failure::new(
            Failure::INVALID_CONFIG,
            "the network configuration lacks stateDir",
            "it is written by knarr itself",
        )
    })
}
