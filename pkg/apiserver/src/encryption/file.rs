//! The file as it is written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore;
use serde::{Deserialize, Serialize};

use super::EncryptionError;

pub(super) const API_VERSION: &str = "apiserver.config.k8s.io/v1";
pub(super) const KIND: &str = "EncryptionConfiguration";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    pub(super) api_version: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) resources: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) providers: Vec<Provider>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Provider {
    Aesgcm(Keys),
    Aescbc(Keys),
    Secretbox(Keys),
    Identity {},
    Kms(serde_json::Value),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) secret: String,
}

impl std::fmt::Debug for Key {
    /// Without the secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl File {
    pub(super) fn of(resources: Vec<Rule>) -> Self {
        Self { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), resources }
    }
}

impl Provider {
    /// Of those that have some.
    pub(super) fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Aesgcm(keys) | Self::Aescbc(keys) | Self::Secretbox(keys) => Some(keys),
            Self::Identity {} | Self::Kms(_) => None,
        }
    }
}

impl Key {
    /// A key of 32 random bytes.
    pub(super) fn generate(name: &str) -> Result<Self, EncryptionError> {
        let mut secret = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(|_| EncryptionError::NoRandomness)?;
        Ok(Self { name: name.to_owned(), secret: STANDARD.encode(secret) })
    }

    /// The secret; `None` when it is not base64.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.secret).ok()
    }
}
