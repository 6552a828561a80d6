//! nftables, through the `nft` program.
//!
//! A batch is one transaction: the kernel takes all of it or nothing. Batches are written in nft's own language, which is
//! what its manual documents, what `nft list` shows and what stays the same between versions; they are read back as JSON
//! (see [`Table`]), because that is what programs can read.

mod monitor;
mod read;
mod table;

pub use monitor::Monitor;
pub use table::{Base, Set, Table};

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::error::Doing;
use crate::{Error, Result};

/// What nft writes can be as long as the batch.
const SHOWN: usize = 4000;

/// Where nft is on every distribution, though not in every `PATH`.
const PLACES: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

const APPLY: [&str; 2] = ["-f", "-"];

/// Carries out a batch of commands, all or none.
///
/// # Errors
/// What nft says, with the command at fault.
pub async fn apply(commands: &str) -> Result<()> {
    let output = run(&APPLY, commands).await.doing(|| "run nft")?;
    check(&output)
}

/// As [`apply`], for who has no runtime.
///
/// # Errors
/// What nft says, with the command at fault.
pub fn apply_blocking(commands: &str) -> Result<()> {
    let mut child = command(&APPLY).spawn().doing(|| "run nft")?;
    if let Some(mut input) = child.stdin.take() {
        // nft reads everything before it writes anything, so this cannot wait for us to read.
        input.write_all(commands.as_bytes()).doing(|| "write to nft")?;
    }
    check(&child.wait_with_output().doing(|| "run nft")?)
}

/// What a table holds, as nft's JSON (`libnftables-json(5)`); `None` when there is no such table.
async fn list(family: &str, table: &str) -> Result<Option<Vec<Value>>> {
    let output = run(&["-j", "list", "table", family, table], "").await.doing(|| "run nft")?;
    match check(&output) {
        Err(Error::Nft(message)) if message.contains("No such file or directory") => return Ok(None),
        other => other?,
    }
    let mut listed: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| Error::Malformed(error.to_string()))?;
    match listed.get_mut("nftables").map(Value::take) {
        Some(Value::Array(objects)) => Ok(Some(objects)),
        _ => Err(Error::Malformed("nft's list has no objects".into())),
    }
}

fn command(arguments: &[&str]) -> std::process::Command {
    let path = match std::env::var("PATH") {
        Ok(path) => format!("{path}:{PLACES}"),
        Err(_) => PLACES.to_owned(),
    };
    let mut command = std::process::Command::new("nft");
    command.args(arguments).env("PATH", path).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(arguments: &[&str], input: &str) -> std::io::Result<Output> {
    let mut child = tokio::process::Command::from(command(arguments)).kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    child.wait_with_output().await
}

fn check(output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message: String = message.trim().chars().take(SHOWN).collect();
    Err(Error::Nft(if message.is_empty() { output.status.to_string() } else { message }))
}
