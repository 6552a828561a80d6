//! The generic registry: every kind is read and written here, and only here.

mod hook;
pub(crate) mod keys;
pub(crate) mod metadata;

use knarr_api::kind::{Kind, KindRef};
use knarr_api::object::{self, Meta};
use knarr_api::status::Result;
use knarr_api::{Object, Status, kinds};

pub use hook::{Change, Companions, Hook};

/// All objects of all kinds.
#[derive(Debug)]
pub struct Registry {
    store: knarr_store::Shared,
}

impl Registry {
    /// A registry over a store.
    #[must_use]
    pub fn new(store: knarr_store::Shared) -> Self {
        Self { store }
    }

    /// The kind whose resource is `plural`.
    #[must_use]
    pub fn kind(&self, group: &str, plural: &str) -> Option<KindRef> {
        kinds::builtin().iter().find(|kind| kind.group == group && kind.plural == plural).cloned()
    }

    /// Reads one object, in its stored version, as of now.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Object> {
        let found = self.store.get(&keys::object(kind, namespace, name)).await.map_err(Status::internal)?;
        let found = found.ok_or_else(|| Status::not_found(kind, name))?;
        let stored = kind.stored().ok_or_else(Status::method_not_allowed)?;
        object::decode(&found.value, &kind.api_version(&stored.name), &kind.kind, found.mod_revision)
            .map_err(Status::internal)
    }
}

/// The stored form of an object.
pub(crate) fn encode(object: &Object) -> Result<bytes::Bytes> {
    if object.name().is_empty() {
        return Err(Status::bad_request("name or generateName is required"));
    }
    object::encode(object).map(Into::into).map_err(Status::internal)
}
