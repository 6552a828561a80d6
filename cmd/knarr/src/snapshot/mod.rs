//! `knarr snapshot`: the cluster in one file, and back.
//!
//! Saving asks the running server, as everything does that reads the store; restoring makes the data directory of a server
//! that has not started yet.

mod list;
mod passphrase;
pub(crate) mod place;
mod restore;
mod save;
pub(crate) mod schedule;
pub(crate) mod target;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use passphrase::{check as check_passphrase, read as read_passphrase};

use crate::cli::Directories;

/// Where the server takes the order.
pub(crate) const PATH: &str = "/knarr/v1/snapshot";

/// What names of scheduled snapshots end with.
pub(crate) const SUFFIX: &str = ".snapshot";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Save the cluster to a file while the server runs
    Save(Save),
    /// Make a data directory of a snapshot, on a machine without a node
    Restore(Restore),
    /// List the snapshots of a directory, and check them
    Ls(List),
}

#[derive(Debug, Args)]
pub(crate) struct Save {
    #[command(flatten)]
    directories: Directories,
    /// File whose content is the passphrase that the cluster's keys are sealed under; asked for by default
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Leave out the keys: of the certificate authorities, of service account tokens, of sealed Secrets
    #[arg(long, conflicts_with = "passphrase_file")]
    without_keys: bool,
    /// The file to make
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    directories: Directories,
    /// File whose content is the passphrase that the cluster's keys are sealed under; asked for by default
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// For a snapshot without keys: what its objects were sealed by; by default encryption-config.yaml in the data directory
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// Leave out the objects that are sealed, Secrets as a rule: for when their keys are lost
    #[arg(long)]
    without_sealed: bool,
    /// A server of the same configuration file would keep its state there.
    #[arg(long, hide = true, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// The snapshot
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    directories: Directories,
    /// Directory of scheduled snapshots; `snapshots` in the data directory by default
    #[arg(long, value_name = "DIR")]
    snapshot_dir: Option<PathBuf>,
    /// The directory to list, that of scheduled snapshots by default
    dir: Option<PathBuf>,
}

/// What is asked of the server.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// What the keys are sealed under; none are saved without it.
    pub(crate) passphrase: Option<String>,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Save(arguments) => save::run(arguments),
        Command::Restore(arguments) => restore::run(arguments),
        Command::Ls(arguments) => list::run(arguments),
    }
}

/// A time as people and programs can read it.
fn shown(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".to_owned(), |time| time.to_string())
}
