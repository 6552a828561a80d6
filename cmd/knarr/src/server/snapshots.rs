//! Snapshots: those that an administrator asks for, and the way in which all are made.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::header;
use knarr_api::Status;
use knarr_apiserver::{Order, Pages};
use knarr_pki::disk;
use knarr_store::Shared;
use knarr_store::snapshot::{self, Passphrase, Saving, Summary};
use tokio::io::{AsyncWrite, BufWriter};
use tokio_util::io::ReaderStream;

use super::sealing::Sealing;
use super::settings::Settings;
use crate::cli::VERSION;
use crate::snapshot::place::{KEYS, SEALING};
use crate::snapshot::target::Target;
use crate::snapshot::{PATH, Wanted, check_passphrase};

/// What is written, and not yet sent.
const AHEAD: usize = 256 << 10;

/// Makes snapshots of what is below the sealing: of ciphertext.
pub(super) struct Snapshots {
    store: Shared,
    sealing: Arc<Sealing>,
    data: PathBuf,
    node: String,
}

impl Snapshots {
    pub(super) fn new(settings: &Settings, sealing: &Arc<Sealing>) -> Arc<Self> {
        let (store, data) = (sealing.inner(), settings.data(""));
        Arc::new(Self { store, sealing: sealing.clone(), data, node: settings.node.clone() })
    }

    /// Adds what `knarr snapshot save` asks for.
    pub(super) fn add(self: &Arc<Self>, pages: Pages) -> Pages {
        let snapshots = self.clone();
        pages.with_order(PATH, move |order| snapshots.clone().answer(order))
    }

    /// Who gets a snapshot can be the cluster from then on, for ever: that is for those alone whose power no role can take.
    async fn answer(self: Arc<Self>, order: Order) -> Result<Response, Status> {
        if !order.user.is_in("system:masters") {
            return Err(Status::failure(403, "Forbidden", "snapshots are for members of system:masters only"));
        }
        let wanted: Wanted =
            serde_json::from_slice(&order.body).map_err(|error| Status::bad_request(error.to_string()))?;
        let passphrase = wanted.passphrase.map(|text| {
            check_passphrase(&text)?;
            Passphrase::new(&text).context("the passphrase is empty")
        });
        let passphrase = passphrase.transpose().map_err(|error| Status::bad_request(error.to_string()))?;
        let (mut sender, receiver) = tokio::io::duplex(AHEAD);
        // Saves while the answer is read, and goes with it. One that ends in an error is not taken for whole.
        let saving = stream::once(async move {
            match self.write(passphrase, &mut sender).await {
                Ok(summary) => {
                    tracing::info!(revision = summary.head.revision, objects = summary.objects, "sent a snapshot");
                    Ok(Bytes::new())
                }
                Err(error) => {
                    tracing::error!("cannot send the snapshot: {error:#}");
                    Err(std::io::Error::other(format!("{error:#}")))
                }
            }
        });
        let body = Body::from_stream(stream::select(ReaderStream::with_capacity(receiver, AHEAD), saving));
        let mut response = Response::new(body);
        let kind = http::HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    /// Writes a snapshot to a file, which gets its name then.
    pub(super) async fn save(&self, target: Target, passphrase: Option<Passphrase>) -> Result<Summary> {
        let mut file = BufWriter::with_capacity(AHEAD, tokio::fs::File::from_std(target.file().try_clone()?));
        let summary = self.write(passphrase, &mut file).await?;
        tokio::task::spawn_blocking(move || target.keep()).await??;
        Ok(summary)
    }

    async fn write(&self, passphrase: Option<Passphrase>, out: &mut (impl AsyncWrite + Unpin)) -> Result<Summary> {
        let saving = Saving::begin(self.store.clone()).await?;
        let keys = match passphrase {
            Some(passphrase) => Some((passphrase, self.keys().await?)),
            None => None,
        };
        Ok(saving.write(&self.node, VERSION, keys, out).await?)
    }

    async fn keys(&self) -> Result<Vec<snapshot::File>> {
        let sealing = self.sealing.keys().await?;
        let files = KEYS.iter().map(|&(name, _)| {
            let content = match name {
                // Wherever it is kept, and what holds now.
                SEALING => sealing.clone(),
                name => disk::read(&self.data.join(name))?.with_context(|| format!("{name} does not exist"))?,
            };
            Ok(snapshot::File { name: name.to_owned(), content })
        });
        files.collect()
    }
}
