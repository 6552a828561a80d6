//! The generic registry: every kind is read and written here, and only here.
//!
//! A write runs through the same steps for every kind, in upstream's order; what differs comes from the kind's
//! [`Strategy`], from [admission](crate::admission) and from [hooks](Hook):
//!
//! ```text
//! create: default -> mutate -> name, UID, times -> prepare -> hook -> validate -> admit -> encode -> transaction
//! update: read -> change -> default -> mutate -> restore, generation -> prepare -> hook -> validate -> admit -> transaction
//! delete: read -> admit -> plan: mark with a deletion timestamp, or hook and transaction
//! ```
//!
//! Every step of an update or delete sees one revision of the object, and the transaction demands that very revision; when
//! it has changed by then, the steps run again on what is there now.

mod create;
mod delete;
mod hook;
pub(crate) mod keys;
pub(crate) mod metadata;
mod resource;
mod update;
mod upkeep;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use knarr_api::kind::{Kind, KindRef};
use knarr_api::object::{self, Meta};
use knarr_api::status::Result;
use knarr_api::strategy::Context;
use knarr_api::{Object, Status};
use knarr_store::{Durability, Guard, KeyValue, Op, Outcome, Revision, Shared, Txn};

pub use delete::Deletion;
pub use hook::{Change, Companions, Hook, Hooks};
pub use keys::ROOT;
pub use resource::{Resource, Resources};
pub use update::{ChangeFn, Updated};
pub(crate) use upkeep::Upkeep;

use crate::admission::{Admission, AdmissionRequest, Operation};
use crate::cache::{Cache, Feed, Item};
use crate::request::RequestContext;

/// How often a write is tried again because something else was faster.
const ATTEMPTS: usize = 64;

/// All objects of all kinds.
#[derive(Debug)]
pub struct Registry {
    store: Shared,
    resources: ArcSwap<Resources>,
    admission: Vec<Arc<dyn Admission>>,
}

/// A write: who, what, where.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The request: user, options, warnings.
    pub cx: &'a RequestContext,
    /// What is written.
    pub resource: &'a Resource,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Empty for a create whose body has the name.
    pub name: &'a str,
    /// For example `status`.
    pub subresource: Option<&'a str>,
}

impl Registry {
    /// A registry over a store, and the feed that keeps its caches up to date: nothing can be read unless that runs.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        store: Shared,
        admission: Vec<Arc<dyn Admission>>,
        hooks: Hooks,
    ) -> Result<(Arc<Self>, Feed), crate::cache::FeedError> {
        let feed = Feed::open(&store, Resources::stored_kinds()).await?;
        let resources = ArcSwap::from_pointee(Resources::builtin(&feed.caches(), &hooks));
        Ok((Arc::new(Self { store, resources, admission }), feed))
    }

    /// Whether the caches follow the store.
    #[must_use]
    pub fn is_fed(&self) -> bool {
        self.resources.load().iter().filter_map(|resource| resource.cache.as_ref()).all(|cache| cache.is_fed())
    }

    /// All resources as they are now.
    #[must_use]
    pub fn resources(&self) -> Arc<Resources> {
        self.resources.load_full()
    }

    /// One resource.
    #[must_use]
    pub fn resource(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources.load().find(group, plural).cloned()
    }

    /// The kind whose resource is `plural`.
    #[must_use]
    pub fn kind(&self, group: &str, plural: &str) -> Option<KindRef> {
        self.resource(group, plural).map(|resource| resource.kind.clone())
    }

    /// The cache of a resource; `None` for resources that are not stored, such as reviews.
    #[must_use]
    pub fn cache(&self, group: &str, plural: &str) -> Option<Arc<Cache>> {
        self.resource(group, plural)?.cache.clone()
    }

    /// Reads one object, in its stored version, as of now: every write that was acknowledged before is seen.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Object> {
        let resource = self.resource(&kind.group, &kind.plural).ok_or_else(Status::no_such_path)?;
        let item = self.item(&resource, namespace, name).await?;
        item.stored.object(&resource.stored)
    }

    /// Reads one object's bytes, as of now.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub async fn item(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Item>> {
        let found = resource.cache()?.get(&keys::object(&resource.stored, namespace, name)).await?;
        found.ok_or_else(|| Status::not_found(&resource.kind, name))
    }

    /// Whether a Service holds the node port.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn holds_node_port(&self, port: u16) -> Result<bool> {
        Ok(self.store.get(&keys::node_port(port)).await.map_err(store_status)?.is_some())
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// Runs the mutating admission plugins.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn mutate(
        &self,
        write: &Write<'_>,
        operation: Operation,
        mut object: Option<&mut Object>,
        old: Option<&Object>,
    ) -> Result<()> {
        for plugin in &self.admission {
            let mut request = self.admission_request(write, operation, object.as_deref_mut(), old);
            plugin.mutate(&mut request).await?;
        }
        Ok(())
    }

    /// Runs the validating admission plugins.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit(
        &self,
        write: &Write<'_>,
        operation: Operation,
        mut object: Option<&mut Object>,
        old: Option<&Object>,
    ) -> Result<()> {
        for plugin in &self.admission {
            let request = self.admission_request(write, operation, object.as_deref_mut(), old);
            plugin.validate(&request).await?;
        }
        Ok(())
    }

    fn admission_request<'a>(
        &'a self,
        write: &Write<'a>,
        operation: Operation,
        object: Option<&'a mut Object>,
        old: Option<&'a Object>,
    ) -> AdmissionRequest<'a> {
        AdmissionRequest {
            cx: write.cx,
            registry: self,
            kind: &write.resource.kind,
            subresource: write.subresource,
            namespace: write.namespace,
            name: write.name,
            operation,
            object,
            old,
        }
    }

    async fn run_hooks(
        &self,
        write: &Write<'_>,
        operation: Operation,
        mut new: Option<&mut Object>,
        old: Option<&Object>,
    ) -> Result<Companions> {
        let mut companions = Companions::default();
        for hook in &write.resource.hooks {
            let mut change = Change {
                cx: write.cx,
                registry: self,
                kind: &write.resource.kind,
                operation,
                new: new.as_deref_mut(),
                old,
                companions: &mut companions,
            };
            hook.apply(&mut change).await?;
        }
        Ok(companions)
    }

    /// Writes an object together with its companions.
    async fn commit(&self, write: &Write<'_>, guard: Guard, op: Op, companions: Companions) -> Result<Commit> {
        let relaxed = write.resource.stored.is_relaxed(write.namespace) && companions.ops.is_empty();
        let durability = if relaxed { Durability::Relaxed } else { Durability::Durable };
        let guards = std::iter::once(guard).chain(companions.guards).collect();
        let ops = std::iter::once(op).chain(companions.ops).collect();
        match self.store.txn(Txn { guards, ops, durability }).await.map_err(store_status)? {
            Outcome::Done(revision) => Ok(Commit::Done(revision)),
            Outcome::Refused { guard: 0, found } => Ok(Commit::Lost(found)),
            Outcome::Refused { .. } => Ok(Commit::CompanionLost),
        }
    }
}

/// What became of an object's transaction.
enum Commit {
    Done(Revision),
    /// The object is not what it was; this is there now.
    Lost(Option<KeyValue>),
    /// One of the other objects is not what the hook believed.
    CompanionLost,
}

impl<'a> Write<'a> {
    /// The context of the kind's strategy.
    fn context(&self, now: &'a str) -> Context<'a> {
        Context { user: &self.cx.user, subresource: self.subresource, now }
    }

    fn dry_run(&self) -> bool {
        self.cx.options.dry_run
    }

    /// 409 after too many attempts.
    fn exhausted(&self) -> Status {
        Status::conflict(&self.resource.kind, self.name, "the object is changed too often by others; please try again")
    }
}

/// The stored form of an object.
pub(crate) fn encode(object: &Object) -> Result<Bytes> {
    if object.name().is_empty() {
        return Err(Status::bad_request("name or generateName is required"));
    }
    if object.values().any(|value| object::is_deeper(value, object::MAX_DEPTH - 1)) {
        let text =
            format!("exceeded max depth: at most {} levels of lists and objects may be nested", object::MAX_DEPTH);
        return Err(Status::bad_request(text));
    }
    object::encode(object).map(Into::into).map_err(Status::internal)
}

/// What the client hears of an error of the store.
pub(crate) fn store_status(error: knarr_store::Error) -> Status {
    use knarr_store::Error as Store;
    match error {
        Store::TooLarge(_) => Status::too_large(knarr_store::MAX_VALUE),
        Store::NoSpace(_) => Status::failure(507, "InsufficientStorage", error.to_string()),
        Store::Poisoned(_) | Store::Closed | Store::Unavailable(_) => Status::unavailable(error.to_string()),
        Store::Compacted { .. } => Status::expired(error.to_string()),
        Store::FutureRevision { .. }
        | Store::Invalid(_)
        | Store::Damaged { .. }
        | Store::Unsealable { .. }
        | Store::Open(_) => Status::internal(error),
    }
}
