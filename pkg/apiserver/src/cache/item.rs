//! One object as readers share it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use knarr_api::kind::Kind;
use knarr_api::object;
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use knarr_store::{KeyValue, Revision};

use super::facts::{Facts, Reader};

/// An object's stored bytes and the revision that wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The stored form: see [`knarr_api::object`].
    pub bytes: Bytes,
    /// Its `resourceVersion`.
    pub revision: Revision,
}

impl Stored {
    /// Decodes the object, in the stored version of `kind`.
    ///
    /// # Errors
    /// When the bytes are not an object, which nothing in this crate writes.
    pub fn object(&self, kind: &Kind) -> Result<Object> {
        let version = kind.stored().map(|version| &*version.name).unwrap_or_default();
        object::decode(&self.bytes, &kind.api_version(version), &kind.kind, self.revision).map_err(Status::internal)
    }
}

/// An object in the cache: its bytes, and beside them what selectors ask for.
#[derive(Debug)]
pub struct Item {
    /// Its key in the store.
    pub(crate) key: Bytes,
    /// Its bytes and revision.
    pub stored: Stored,
    /// What selectors ask for.
    pub facts: Facts,
    /// Encodings that are not the stored one, made when first asked for.
    forms: OnceLock<Box<Forms<u8>>>,
}

impl Item {
    /// Reads a value of the store.
    pub(crate) fn read(entry: KeyValue, reader: &Reader) -> Result<Arc<Self>, object::Malformed> {
        object::tail(&entry.value)?;
        let facts = reader.read(&entry.value)?;
        let stored = Stored { bytes: entry.value, revision: entry.mod_revision };
        Ok(Arc::new(Self { key: entry.key, stored, facts, forms: OnceLock::new() }))
    }

    /// The encoding of version number `version`, made at most once.
    ///
    /// # Errors
    /// What `make` says.
    pub(crate) fn form(&self, version: u8, make: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        self.forms.get_or_init(Box::default).get(version, make)
    }
}

/// A few encodings of one thing, each made at most once and shared by all who want it.
#[derive(Debug)]
pub(crate) struct Forms<K>(Mutex<Vec<(K, Bytes)>>);

impl<K> Default for Forms<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq> Forms<K> {
    /// The encoding `key`. It is made under the lock, so that a thousand who want it wait for one who makes it.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        let mut forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = forms.iter().find(|(own, _)| *own == key) {
            return Ok(bytes.clone());
        }
        let bytes = make()?;
        forms.push((key, bytes.clone()));
        Ok(bytes)
    }
}
