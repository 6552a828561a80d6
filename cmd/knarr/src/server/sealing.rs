//! The keys that objects are sealed with at rest: where they are, and their rotation.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use knarr_api::Status;
use knarr_apiserver::Pages;
use knarr_apiserver::encryption::Encryption;
use knarr_base::Shutdown;
use knarr_pki::disk::{self, Access};
use knarr_store::{Sealed, Shared};
use serde_json::Value;
use tokio::sync::Mutex;

use super::settings::Settings;
use crate::secrets::{ROTATE, Rotated};
use crate::snapshot::place::SEALING;

/// A store that seals, and its keys.
pub(super) struct Sealing {
    inner: Shared,
    store: Arc<Sealed>,
    path: PathBuf,
    /// Why the keys cannot be changed from here.
    fixed_by: Option<&'static str>,
    /// Held as long as a rotation takes: one at a time.
    encryption: Mutex<Encryption>,
}

impl Sealing {
    /// Seals what is written to `inner` by the file that the settings name, or by one that is made now.
    pub(super) async fn open(settings: &Settings, inner: Shared) -> Result<Arc<Self>> {
        let given = settings.arguments.encryption_provider_config.clone();
        let fixed_by = if given.is_some() {
            Some("the keys are those of --encryption-provider-config: add one there, at the first place, and restart")
        } else if settings.arguments.etcd.options().is_some() {
            Some("others may share the etcd: give all servers the same --encryption-provider-config, with the new key")
        } else {
            None
        };
        let is_ours = given.is_none();
        let path = given.unwrap_or_else(|| settings.data(SEALING));
        let encryption = match disk::read(&path)? {
            Some(text) => Encryption::parse(&text).with_context(|| path.display().to_string())?,
            None if is_ours => generate(&path, &inner).await?,
            None => bail!("{} does not exist", path.display()),
        };
        let store = Sealed::new(inner.clone(), encryption.rules());
        Ok(Arc::new(Self { inner, store, path, fixed_by, encryption: Mutex::new(encryption) }))
    }

    /// Plaintext above, ciphertext below.
    pub(super) fn store(&self) -> Shared {
        self.store.clone()
    }

    /// The ciphertext.
    pub(super) fn inner(&self) -> Shared {
        self.inner.clone()
    }

    /// The file that has the keys of everything that is stored now.
    pub(super) async fn keys(&self) -> Result<String> {
        Ok(self.encryption.lock().await.render()?)
    }

    /// Adds what `knarr secrets` asks for.
    pub(super) fn add(self: &Arc<Self>, pages: Pages) -> Pages {
        let sealing = self.clone();
        pages.with_action(ROTATE, move || {
            // Goes on when who asked has hung up.
            let rotation = tokio::spawn(sealing.clone().rotate());
            async { rotation.await.map_err(Status::internal)? }
        })
    }

    async fn rotate(self: Arc<Self>) -> Result<Value, Status> {
        if let Some(why) = self.fixed_by {
            return Err(Status::bad_request(why));
        }
        let mut encryption = self.encryption.lock().await;
        let (rotated, key) = encryption.rotate().map_err(Status::internal)?;
        // Nothing is sealed with a key that a power cut could take.
        write(&self.path, &rotated).map_err(Status::internal)?;
        self.store.replace(rotated.rules());
        *encryption = rotated;
        let sealed = self.store.reseal().await.map_err(Status::internal)?;
        tracing::info!(key, sealed, "rotated the key that objects are sealed with");
        serde_json::to_value(Rotated { key, sealed }).map_err(Status::internal)
    }

    /// Seals what was written when other rules held.
    pub(super) async fn run(self: Arc<Self>, shutdown: Shutdown) -> Result<()> {
        match shutdown.or(self.store.reseal()).await {
            Some(Ok(sealed)) if sealed > 0 => tracing::info!(sealed, "sealed what was written by other rules"),
            Some(Err(error)) => {
                tracing::error!("what was written by other rules stays so until the next start: {error}")
            }
            _ => {}
        }
        shutdown.wait().await;
        Ok(())
    }
}

/// Keys for a new cluster. One that had keys gets no others: what they sealed would be lost.
async fn generate(path: &std::path::Path, inner: &Shared) -> Result<Encryption> {
    let encryption = Encryption::generate()?;
    for (prefix, _) in encryption.rules() {
        if Sealed::is_sealed(&**inner, prefix).await? {
            let path = path.display();
            bail!(
                "{path} does not exist, and has the keys of the Secrets that are stored: bring it back, or name it by --encryption-provider-config"
            );
        }
    }
    write(path, &encryption)?;
    Ok(encryption)
}

fn write(path: &std::path::Path, encryption: &Encryption) -> Result<()> {
    Ok(disk::write(path, &encryption.render()?, Access::Private)?)
}
