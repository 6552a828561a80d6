//! `knarr secrets`: the keys that Secrets are sealed with at rest.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::admin;
use crate::cli::{Directories, say};

/// Where the server takes the order.
pub(crate) const ROTATE: &str = "/knarr/v1/rotate-key";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a new key and seal all Secrets with it; older keys stay, for history and backups
    RotateKey(Directories),
}

/// What the server answers.
#[derive(Debug, Deserialize, serde::Serialize)]
pub(crate) struct Rotated {
    /// The name of the new key.
    pub(crate) key: String,
    /// How many objects were sealed anew.
    pub(crate) sealed: usize,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    let Command::RotateKey(directories) = command;
    let request = http::Request::post(ROTATE).body(Vec::new())?;
    let rotated: Rotated = admin::ask(directories, async |client| {
        client.request(request).await.context("the server has not rotated the key")
    })?;
    let Rotated { key, sealed } = rotated;
    say(&format!("{sealed} objects are sealed with the new key {key}"));
    Ok(())
}
