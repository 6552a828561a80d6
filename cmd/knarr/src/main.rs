//! The knarr binary: arguments, configuration, and the wiring of the parts.

mod admin;
mod check;
mod cli;
mod config_file;
mod dataplane;
mod etcd;
mod reset;
mod secrets;
mod server;
mod snapshot;
mod status;
mod store;
mod systemd;

use std::process::ExitCode;

/// jemalloc keeps a Tokio process's memory near what it uses; glibc's arenas double it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
