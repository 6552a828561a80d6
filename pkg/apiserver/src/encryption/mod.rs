//! How objects are sealed at rest: upstream's `EncryptionConfiguration`, and what it means for the keys of the store.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-EncryptionConfiguration>

mod check;
mod file;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use knarr_api::field;
use knarr_store::{KeyError, Provider, Rules, SealingKey};

use self::file::{File, Key, Keys};
use crate::registry::keys;

/// What a file says that is an `EncryptionConfiguration`.
#[derive(Clone, Debug)]
pub struct Encryption {
    file: File,
    rules: Rules,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The text is no such configuration.
    #[error("{0}")]
    Malformed(String),
    /// It is one, but means nothing.
    #[error("{0}")]
    Invalid(field::Errors),
    /// A key is none.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// It cannot be written as YAML.
    #[error("{0}")]
    Render(#[from] serde_saphyr::ser::Error),
    /// There is nothing to make a key of.
    #[error("there are no random numbers")]
    NoRandomness,
}

type Result<T> = std::result::Result<T, EncryptionError>;

impl Encryption {
    /// Reads such a file.
    ///
    /// # Errors
    /// When it is none, or asks for a provider that is not there.
    pub fn parse(text: &str) -> Result<Self> {
        // The rest of what the parser says shows the lines around the place, which may hold keys.
        let first_line = |told: String| told.lines().next().unwrap_or_default().to_owned();
        let file = serde_saphyr::from_str(text);
        Self::new(file.map_err(|error| EncryptionError::Malformed(first_line(error.to_string())))?)
    }

    /// What a cluster begins with: Secrets are sealed by a key of its own, and read even where they were written before.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self> {
        let keys = Keys { keys: vec![Key::generate("key1")?] };
        let providers = vec![file::Provider::Aesgcm(keys), file::Provider::Identity {}];
        Self::new(File::of(vec![file::Rule { resources: vec!["secrets".to_owned()], providers }]))
    }

    /// The same with a new key in front of the others of `aesgcm`, and its name. The others stay: what is older needs them,
    /// in history and in backups.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn rotate(&self) -> Result<(Self, String)> {
        let mut file = self.file.clone();
        let lists = || self.file.resources.iter().flat_map(|rule| &rule.providers).filter_map(file::Provider::keys);
        // Later than all others, even where somebody has removed some: a name stands in what it sealed.
        let numbers = lists().flat_map(|list| &list.keys).filter_map(|key| key.name.strip_prefix("key")?.parse().ok());
        let number = 1 + numbers.max().unwrap_or(0_u32);
        let key = Key::generate(&format!("key{number}"))?;
        for rule in &mut file.resources {
            if let Some(file::Provider::Aesgcm(list)) = rule.providers.first_mut() {
                list.keys.insert(0, key.clone());
            }
        }
        Ok((Self::new(file)?, key.name))
    }

    fn new(file: File) -> Result<Self> {
        let errors = check::errors(&file);
        if !errors.is_empty() {
            return Err(EncryptionError::Invalid(errors));
        }
        let mut rules = Rules::new();
        for rule in &file.resources {
            let providers = providers(rule)?;
            rules.extend(rule.resources.iter().map(|resource| (keys::wildcard(resource), providers.clone())));
        }
        Ok(Self { file, rules })
    }

    /// As it is written to a file.
    ///
    /// # Errors
    /// When it cannot be put into YAML.
    pub fn render(&self) -> Result<String> {
        Ok(serde_saphyr::to_string(&self.file)?)
    }

    /// What it means for the store.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules.clone()
    }
}

/// A key by its name and its bytes.
type MakeKey = fn(&str, &[u8]) -> std::result::Result<SealingKey, KeyError>;

fn providers(rule: &file::Rule) -> Result<Vec<Provider>> {
    let mut providers = Vec::new();
    for provider in &rule.providers {
        let (make, list): (MakeKey, _) = match provider {
            file::Provider::Aesgcm(list) => (SealingKey::aes_gcm, list),
            file::Provider::Aescbc(list) => (SealingKey::aes_cbc, list),
            file::Provider::Secretbox(list) => (SealingKey::secret_box, list),
            file::Provider::Identity {} | file::Provider::Kms(_) => {
                providers.push(Provider::Identity);
                continue;
            }
        };
        for key in &list.keys {
            // Text that is no base64 was refused.
            let secret = key.bytes().unwrap_or_default();
            providers.push(Provider::Key(Arc::new(make(&key.name, &secret)?)));
        }
    }
    Ok(providers)
}
