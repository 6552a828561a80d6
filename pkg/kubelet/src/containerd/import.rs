//! Putting image archives into containerd through its Content and Images services, which every version has.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::archive::{Archive, Blob, Contents, Descriptor, hex};
use super::{Error, NAMESPACE, PINNED_LABEL};
use crate::cri::{Cri, Runtime as _};
use crate::proto::containerd::services::content::v1 as content;
use crate::proto::containerd::services::images::v1 as images;
use crate::proto::containerd::services::leases::v1 as leases;
use crate::proto::containerd::types;
use content::content_client::ContentClient;
use images::images_client::ImagesClient;
use leases::leases_client::LeasesClient;

/// On an image: the archive it came from, so that an unchanged archive is not read again at the next start.
const ARCHIVE_LABEL: &str = "knarr.io/archive";
const CHUNK: u64 = 1 << 20;

/// Imports archives into one containerd.
#[derive(Clone, Debug)]
pub struct Importer {
    channel: Channel,
    /// Where compressed archives are unpacked.
    scratch: PathBuf,
}

impl Importer {
    /// Works on the containerd behind `channel`; unpacks compressed archives in `scratch`.
    #[must_use]
    pub fn new(channel: Channel, scratch: PathBuf) -> Self {
        Self { channel, scratch }
    }

    /// Imports an archive that is part of this program. Whatever comes from an archive is pinned: see [`Importer::pinned`].
    ///
    /// # Errors
    /// When containerd refuses it.
    pub async fn embedded(&self, name: &str, archive: &'static [u8]) -> Result<(), Error> {
        let mark = format!("knarr:{name}:{}", hex(&Sha256::digest(archive)));
        if self.imported().await?.contains(&mark) {
            return Ok(());
        }
        let archive = Archive::embedded(archive).map_err(|error| Error::Archive(name.into(), error.to_string()))?;
        self.store(name, archive, mark).await
    }

    /// Imports every `.tar`, `.tar.gz` and `.tgz` in `directory` that is new or has changed. An archive that cannot be
    /// imported is a line in the log, and no reason to leave out the others.
    ///
    /// # Errors
    /// When the directory or containerd cannot be read.
    pub async fn directory(&self, directory: &Path) -> Result<(), Error> {
        let known = self.imported().await?;
        for path in archives(directory).map_err(Error::file(directory))? {
            let found = std::fs::metadata(&path).map_err(Error::file(&path))?;
            let changed = found.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let mark = format!(
                "{}:{}:{}",
                path.file_name().unwrap_or_default().to_string_lossy(),
                found.len(),
                changed.unwrap_or_default().as_millis()
            );
            if known.contains(&mark) {
                continue;
            }
            match self.file(&path, mark).await {
                Ok(()) => tracing::info!("imported {}", path.display()),
                Err(error) => tracing::error!("cannot import {}: {error}", path.display()),
            }
        }
        Ok(())
    }

    /// The names of all images that no garbage collection may take: those that came from archives cannot be pulled again.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn pinned(&self) -> Result<Vec<String>, Error> {
        let answer =
            ImagesClient::new(self.channel.clone()).list(namespaced(images::ListImagesRequest::default())).await?;
        let pinned = answer.into_inner().images.into_iter().filter(|image| image.labels.contains_key(PINNED_LABEL));
        Ok(pinned.map(|image| image.name).collect())
    }

    async fn file(&self, path: &Path, mark: String) -> Result<(), Error> {
        let (file, scratch) = (File::open(path).map_err(Error::file(path))?, self.scratch.clone());
        let opened = blocking(move || Archive::open(file, &scratch)).await;
        let archive = opened.map_err(|error| Error::Archive(path.display().to_string(), error.to_string()))?;
        self.store(&path.display().to_string(), archive, mark).await
    }

    /// The archives that present images came from.
    async fn imported(&self) -> Result<Vec<String>, Error> {
        let answer =
            ImagesClient::new(self.channel.clone()).list(namespaced(images::ListImagesRequest::default())).await?;
        Ok(answer.into_inner().images.into_iter().filter_map(|mut image| image.labels.remove(ARCHIVE_LABEL)).collect())
    }

    async fn store(&self, name: &str, mut archive: Archive, mark: String) -> Result<(), Error> {
        let labels: HashMap<String, String> =
            [(PINNED_LABEL.to_owned(), "pinned".to_owned()), (ARCHIVE_LABEL.to_owned(), mark)].into();
        let bad = |error: io::Error| Error::Archive(name.into(), error.to_string());
        let (mut archive, contents) = blocking(move || {
            let contents = archive.contents(architecture())?;
            Ok((archive, contents))
        })
        .await
        .map_err(bad)?;
        // Content that no image refers to yet is kept by a lease; one that we leave behind by dying expires.
        let mut leases = LeasesClient::new(self.channel.clone());
        let expires = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string();
        let lease = leases::CreateRequest {
            id: format!("knarr-import-{}", std::process::id()),
            labels: [("containerd.io/gc.expire".to_owned(), expires)].into(),
        };
        let id = lease.id.clone();
        match leases.create(namespaced(lease)).await {
            Err(status) if status.code() != Code::AlreadyExists => return Err(status.into()),
            _ => {}
        }
        let Contents { blobs, images } = contents;
        for blob in blobs {
            archive = self.blob(archive, blob, &id).await.map_err(|error| match error {
                Error::File { cause, .. } => bad(cause),
                other => other,
            })?;
        }
        for (image, target) in &images {
            self.image(image, target, labels.clone()).await?;
        }
        leases.delete(namespaced(leases::DeleteRequest { id, sync: false })).await?;
        for (image, _) in &images {
            self.wait_for_cri(image).await;
        }
        Ok(())
    }

    /// Stores one blob, or only its labels when containerd has it.
    async fn blob(&self, archive: Archive, blob: Blob, lease: &str) -> Result<Archive, Error> {
        let mut client = ContentClient::new(self.channel.clone());
        let known = client.info(namespaced(content::InfoRequest { digest: blob.digest.clone() })).await;
        if known.is_ok() {
            let paths = blob.labels.keys().map(|key| format!("labels.{key}")).collect::<Vec<_>>();
            if !paths.is_empty() {
                let info = content::Info { digest: blob.digest, labels: blob.labels, ..Default::default() };
                let update_mask = Some(prost_types::FieldMask { paths });
                client.update(namespaced(content::UpdateRequest { info: Some(info), update_mask })).await?;
            }
            return Ok(archive);
        }
        let (sender, receiver) = mpsc::channel(4);
        let reader = tokio::task::spawn_blocking(move || send(archive, &blob, &sender));
        let mut request = namespaced(ReceiverStream::new(receiver));
        if let Ok(value) = MetadataValue::try_from(lease) {
            request.metadata_mut().insert("containerd-lease", value);
        }
        let mut answers = client.write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        reader.await.map_err(io::Error::other).flatten().map_err(Error::file("archive"))
    }

    async fn image(&self, name: &str, target: &Descriptor, labels: HashMap<String, String>) -> Result<(), Error> {
        let mut client = ImagesClient::new(self.channel.clone());
        let image = images::Image {
            name: name.into(),
            labels,
            target: Some(types::Descriptor {
                media_type: target.media_type.clone(),
                digest: target.digest.clone(),
                size: target.size,
                annotations: HashMap::new(),
            }),
            ..Default::default()
        };
        let create = images::CreateImageRequest { image: Some(image.clone()), source_date_epoch: None };
        match client.create(namespaced(create)).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let update =
                    images::UpdateImageRequest { image: Some(image), update_mask: None, source_date_epoch: None };
                client.update(namespaced(update)).await?;
            }
            created => {
                created?;
            }
        }
        Ok(())
    }

    /// The CRI plugin learns of new images by an event; a pod that needs one right away must not miss it.
    async fn wait_for_cri(&self, name: &str) {
        let cri = Cri::new(self.channel.clone());
        for delay in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] {
            if matches!(cri.image_status(name).await, Ok(Some(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        tracing::warn!("{name} was imported, but CRI does not list it yet");
    }
}

/// Feeds a blob to containerd, chunk by chunk, and commits it.
fn send(mut archive: Archive, blob: &Blob, to: &mpsc::Sender<content::WriteContentRequest>) -> io::Result<Archive> {
    let signed = |size: u64| i64::try_from(size).map_err(io::Error::other);
    let request = |action: content::WriteAction, position: u64, data: Vec<u8>| {
        Ok::<_, io::Error>(content::WriteContentRequest {
            action: action.into(),
            r#ref: format!("knarr-import-{}", blob.digest),
            total: signed(blob.size)?,
            expected: blob.digest.clone(),
            offset: signed(position)?,
            data,
            labels: if action == content::WriteAction::Commit { blob.labels.clone() } else { HashMap::new() },
        })
    };
    let mut position = 0;
    while position < blob.size {
        let data = archive.read(blob, position, CHUNK)?;
        let length = data.len() as u64;
        if to.blocking_send(request(content::WriteAction::Write, position, data)?).is_err() {
            return Ok(archive);
        }
        position += length;
    }
    // A closed channel means that containerd has refused; its answer tells why.
    let _refused = to.blocking_send(request(content::WriteAction::Commit, position, Vec::new())?);
    Ok(archive)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The archives in a directory, by name; none when the directory does not exist.
fn archives(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A request to containerd's own API, which serves several namespaces.
pub(crate) fn namespaced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

/// This machine's architecture as OCI names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
