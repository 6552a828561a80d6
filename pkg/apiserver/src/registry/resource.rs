//! The table of what the registry serves.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use knarr_api::kind::{KindRef, Storage};
use knarr_api::kinds;
use knarr_api::status::Result;
use knarr_api::strategy::{self, Strategy};
use knarr_api::{Object, Status, schema};

use super::hook::{Hook, Hooks};
use super::keys;
use crate::cache::Cache;

/// One resource.
pub struct Resource {
    /// Its row.
    pub kind: KindRef,
    /// The row that its objects are stored as: itself, mostly. That of an unstored resource is itself too.
    pub stored: KindRef,
    /// Its objects; `None` for resources that are not stored.
    pub cache: Option<Arc<Cache>>,
    /// What is special about it.
    pub strategy: &'static dyn Strategy,
    /// What its writes do to other objects.
    pub hooks: Vec<Arc<dyn Hook>>,
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Resource").field(&self.kind.qualified()).finish()
    }
}

impl Resource {
    /// Its objects.
    ///
    /// # Errors
    /// 405 for resources that are not stored.
    pub fn cache(&self) -> Result<&Arc<Cache>> {
        self.cache.as_ref().ok_or_else(Status::method_not_allowed)
    }

    /// Sets the defaults of an object of the stored version.
    pub fn default(&self, object: &mut Object) {
        let stored = self.stored.versions.first().and_then(|version| schema::root(&version.schema));
        if let Some(ty) = stored {
            schema::defaults::fill(object, ty);
        }
        self.strategy.default(object);
    }
}

/// All resources, by group and plural.
#[derive(Debug, Default)]
pub struct Resources {
    by_name: HashMap<String, HashMap<String, Arc<Resource>>>,
    /// In the order of discovery.
    all: Vec<Arc<Resource>>,
    kinds: Vec<KindRef>,
}

impl Resources {
    /// The built-in kinds that are stored under their own name.
    pub(crate) fn stored_kinds() -> impl Iterator<Item = KindRef> {
        kinds::builtin().iter().filter(|kind| kind.storage == Storage::Own).cloned()
    }

    /// The built-in resources.
    pub(crate) fn builtin(caches: &HashMap<Bytes, Arc<Cache>>, hooks: &Hooks) -> Self {
        let mut resources = Self::default();
        for kind in kinds::builtin() {
            let stored = kinds::storage_of(kind);
            let hooks = hooks.get(&(&*kind.group, &*kind.plural)).cloned().unwrap_or_default();
            resources.add(Resource {
                kind: kind.clone(),
                cache: stored.and_then(|stored| caches.get(&keys::kind(stored)).cloned()),
                stored: stored.unwrap_or(kind).clone(),
                strategy: strategy::of(&kind.group, &kind.kind),
                hooks,
            });
        }
        resources
    }

    fn add(&mut self, resource: Resource) {
        let resource = Arc::new(resource);
        let group = self.by_name.entry(resource.kind.group.to_string()).or_default();
        group.insert(resource.kind.plural.to_string(), resource.clone());
        self.kinds.push(resource.kind.clone());
        self.all.push(resource);
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(group)?.get(plural)
    }

    /// Their rows, in the order of discovery.
    #[must_use]
    pub fn kinds(&self) -> &[KindRef] {
        &self.kinds
    }

    /// All of them, in the order of discovery.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.all.iter()
    }
}
