//! `knarr snapshot save`.

use std::io::BufReader;

use anyhow::{Context, Result, bail};
use futures::io::AllowStdIo;
use knarr_store::snapshot::{Reader, Summary};
use tokio::signal::unix::{SignalKind, signal};

use super::target::Target;
use super::{PATH, Save, Wanted, passphrase};
use crate::admin;
use crate::cli::say;

pub(super) fn run(arguments: &Save) -> Result<()> {
    let target = Target::new(&arguments.file)?;
    let passphrase = match arguments.without_keys {
        true => None,
        false => Some(passphrase::choose(arguments.passphrase_file.as_deref())?),
    };
    let request = http::Request::post(PATH).body(serde_json::to_vec(&Wanted { passphrase })?)?;
    admin::ask(&arguments.directories, async |client| {
        tokio::select! {
            received = receive(client, request, &target) => received,
            interrupted = interrupted() => interrupted,
        }
    })?;
    // Whatever failed on the way shows here: a snapshot without its end is none.
    let summary = Reader::open(BufReader::new(target.reopen()?)).and_then(Reader::verify);
    let summary = summary.context("the server has not sent a whole snapshot; its log says why")?;
    target.keep()?;
    tell(arguments, &summary);
    Ok(())
}

async fn receive(client: kube::Client, request: http::Request<Vec<u8>>, target: &Target) -> Result<()> {
    let mut snapshot = client.request_stream(request).await.context("the server saves no snapshot")?;
    let copied = futures::io::copy(&mut snapshot, &mut AllowStdIo::new(target.file())).await;
    copied.context("the snapshot has not come to its end").map(drop)
}

/// Ends in order, so that nothing half is left.
async fn interrupted() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    bail!("interrupted: nothing was saved")
}

fn tell(arguments: &Save, summary: &Summary) {
    let Summary { head, objects, size, .. } = summary;
    let keys = if summary.has_keys { "with" } else { "without" };
    let (file, revision) = (arguments.file.display(), head.revision);
    say(&format!("{file}: {objects} objects at revision {revision}, {keys} the cluster's keys, {size} bytes"));
}
