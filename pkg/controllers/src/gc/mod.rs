//! The garbage collector: deletes what has lost its owners, and carries out foreground and orphaning deletions
//! (<https://kubernetes.io/docs/concepts/architecture/garbage-collection/>).
//!
//! There is no graph beside the caches: an object's dependents are an index over the [`Inventory`], its owners are looked up
//! there. What the caches do not know is asked of the server before anything is deleted, because a missing owner is one
//! that may only be late.

mod decide;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_base::Shutdown;
use knarr_client::cache::Metadata;
use knarr_client::events::Type;
use knarr_client::queue::Queue;
use knarr_client::{Action, Change, Controller, Key, Recorder};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use crate::deps::Deps;
use crate::error::{Error, gone_is_fine, is_not_found};
use crate::inventory::{Inventory, Kind, Objects, Tracked, api};
use decide::{Decision, FOREGROUND, ORPHAN, Owner, Propagation, blocks, decide, has, is_waiting};

pub(crate) const NAME: &str = "generic-garbage-collector";
const WORKERS: usize = 10;

/// An object of any kind, by its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    resource: Arc<str>,
    key: Key,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.key)
    }
}

/// The collector, and the way to tell it of changes.
pub(crate) struct Collector {
    inventory: Arc<Inventory>,
    controller: Controller<Place>,
    client: Client,
    recorder: Recorder,
}

impl Collector {
    pub(crate) fn new(deps: &Deps, inventory: Arc<Inventory>) -> Self {
        let recorder = deps.events.recorder(deps.client(NAME), "garbage-collector-controller", "");
        Self { inventory, controller: Controller::new(NAME), client: deps.client(NAME), recorder }
    }

    /// To be called for every change of the inventory.
    pub(crate) fn listener(&self) -> impl Fn(&Arc<Kind>, &Change<Metadata>) + Send + Sync + use<> {
        let (inventory, queue) = (self.inventory.clone(), self.controller.queue());
        move |kind, change| affected(&inventory, kind, change).into_iter().for_each(|place| queue.add(place))
    }

    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        if shutdown.or(self.inventory.complete()).await.is_none() {
            return Ok(());
        }
        let queue = self.controller.queue();
        let work = Work { inventory: self.inventory, client: self.client, recorder: self.recorder, queue };
        self.controller.run(WORKERS, shutdown, |place| work.reconcile(place)).await
    }
}

/// Which objects have to be looked at because of a change.
fn affected(inventory: &Inventory, kind: &Arc<Kind>, change: &Change<Metadata>) -> Vec<Place> {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && (&old.uid, old.deleting, &old.finalizers, &old.owners)
            == (&new.uid, new.deleting, &new.finalizers, &new.owners)
    {
        return Vec::new();
    }
    let mut places = Vec::new();
    if let Some(new) = &change.new
        && (!new.owners.is_empty() || new.deleting && (has(new, ORPHAN) || has(new, FOREGROUND)))
    {
        places.push(Place { resource: kind.resource.clone(), key: change.key.clone() });
    }
    if let Some(old) = &change.old {
        if change.new.as_ref().is_none_or(|new| new.uid != old.uid) {
            places.extend(inventory.dependents(&old.uid).into_iter().map(|(kind, object)| place(&kind, &object)));
        }
        // An owner that waits for its dependents may have one less.
        let owners = old.owners.iter().filter_map(|owner| find(inventory, kind, &change.key, owner));
        places.extend(owners.filter(|(_, owner)| is_waiting(owner)).map(|(kind, owner)| place(&kind, &owner)));
    }
    places
}

fn place(kind: &Kind, object: &Metadata) -> Place {
    Place { resource: kind.resource.clone(), key: object.key.clone() }
}

/// The owner, if the caches know it. Owners live in the namespace of their dependents, or in none.
fn find(inventory: &Inventory, kind: &Kind, key: &Key, owner: &OwnerReference) -> Option<(Arc<Kind>, Arc<Metadata>)> {
    let tracked = inventory.kind_of(owner)?;
    let namespace = if tracked.kind.namespaced && kind.namespaced { key.namespace() } else { "" };
    let found = tracked.objects?.cache.get(namespace, &owner.name)?;
    (*found.uid == *owner.uid).then_some((tracked.kind, found))
}

struct Work {
    inventory: Arc<Inventory>,
    client: Client,
    recorder: Recorder,
    queue: Arc<Queue<Place>>,
}

/// An object, its kind, and the cache that shows it.
struct Item {
    kind: Arc<Kind>,
    objects: Objects,
    object: Arc<Metadata>,
}

impl Work {
    async fn reconcile(&self, place: Place) -> Result<Action, Error> {
        let Some(Tracked { kind, objects: Some(objects) }) = self.inventory.kind(&place.resource) else {
            return Ok(Action::Done);
        };
        let Some(object) = objects.cache.at(&place.key) else { return Ok(Action::Done) };
        let item = Item { kind, objects, object };
        match item.object.deleting {
            true if has(&item.object, ORPHAN) => self.orphan(&item).await?,
            true if has(&item.object, FOREGROUND) => self.release_when_alone(&item).await?,
            true => {}
            false => self.collect(&item).await?,
        }
        Ok(Action::Done)
    }

    /// An object that is not being deleted: do its owners exist?
    async fn collect(&self, item: &Item) -> Result<(), Error> {
        let mut owners = Vec::new();
        for owner in &item.object.owners {
            let Some(state) = self.state(item, owner).await? else { return Ok(()) };
            owners.push((owner.clone(), state));
        }
        let dependents: Vec<_> =
            self.inventory.dependents(&item.object.uid).into_iter().map(|(_, object)| object).collect();
        match decide(&item.object, &owners, &dependents) {
            Decision::Keep => Ok(()),
            Decision::Release(kept) => self.patch(item, json!({"ownerReferences": kept})).await,
            Decision::Delete { propagation, unblock } => {
                if unblock && item.object.owners.iter().any(|own| own.block_owner_deletion == Some(true)) {
                    let loose = item.object.owners.iter().cloned();
                    let loose: Vec<_> =
                        loose.map(|own| OwnerReference { block_owner_deletion: Some(false), ..own }).collect();
                    // The change of the object brings it here again.
                    return self.patch(item, json!({"ownerReferences": loose})).await;
                }
                self.delete(item, propagation).await
            }
        }
    }

    /// How an owner is. `None`: the reference makes no sense and decides nothing.
    async fn state(&self, item: &Item, owner: &OwnerReference) -> Result<Option<Owner>, Error> {
        let of = |object: &Metadata| if is_waiting(object) { Owner::Waiting } else { Owner::Solid };
        if let Some((_, known)) = find(&self.inventory, &item.kind, &item.object.key, owner) {
            return Ok(Some(of(&known)));
        }
        let Some(tracked) = self.inventory.kind_of(owner) else {
            let text = format!("no kind {} in {} for the owner of {}", owner.kind, owner.api_version, item.object.key);
            return Err(Error::Unusable(text));
        };
        if tracked.kind.namespaced && !item.kind.namespaced {
            self.complain(item, owner);
            return Ok(None);
        }
        let api = api(&self.client, &tracked.kind, item.object.key.namespace());
        match api.get_metadata(&owner.name).await {
            Ok(live) if live.metadata.uid.as_deref() == Some(&owner.uid) => {
                let finalizers = live.metadata.finalizers.unwrap_or_default();
                let deleting = live.metadata.deletion_timestamp.is_some();
                let finalizers = finalizers.into_iter().map(Into::into).collect();
                Ok(Some(of(&Metadata { deleting, finalizers, ..Metadata::default() })))
            }
            Ok(_) => Ok(Some(Owner::Absent)),
            Err(error) if is_not_found(&error) => Ok(Some(Owner::Absent)),
            Err(error) => Err(error.into()),
        }
    }

    fn complain(&self, item: &Item, owner: &OwnerReference) {
        let (api, key) = (&item.kind.api, &item.object.key);
        let reference = ObjectReference {
            api_version: Some(api.api_version.clone()),
            kind: Some(api.kind.clone()),
            name: Some(key.name().to_owned()),
            uid: Some(item.object.uid.to_string()),
            ..ObjectReference::default()
        };
        let message = format!(
            "cluster-scoped object names the namespaced owner {} {} \"{}\" (uid {})",
            owner.api_version, owner.kind, owner.name, owner.uid
        );
        self.recorder.event_on(reference, Type::Warning, "OwnerRefInvalidNamespace", message);
    }

    /// Foreground deletion: the owner goes when nothing blocks it. Its dependents are looked at, whatever else they wait for.
    async fn release_when_alone(&self, item: &Item) -> Result<(), Error> {
        let dependents = self.inventory.dependents(&item.object.uid);
        if !dependents.iter().any(|(_, dependent)| blocks(dependent, &item.object.uid)) {
            return self.remove_finalizer(item, FOREGROUND).await;
        }
        let living = dependents.iter().filter(|(_, dependent)| !dependent.deleting);
        living.for_each(|(kind, dependent)| self.queue.add(place(kind, dependent)));
        Ok(())
    }

    /// Orphaning deletion: the dependents forget the owner, then it goes.
    async fn orphan(&self, item: &Item) -> Result<(), Error> {
        for (kind, object) in self.inventory.dependents(&item.object.uid) {
            let others = object.owners.iter().filter(|owner| *owner.uid != *item.object.uid);
            let others: Vec<_> = others.cloned().collect();
            let Some(Tracked { objects: Some(objects), .. }) = self.inventory.kind(&kind.resource) else { continue };
            self.patch(&Item { kind, objects, object }, json!({"ownerReferences": others})).await?;
        }
        self.remove_finalizer(item, ORPHAN).await
    }

    async fn remove_finalizer(&self, item: &Item, finalizer: &str) -> Result<(), Error> {
        let kept: Vec<_> = item.object.finalizers.iter().filter(|own| own.as_ref() != finalizer).collect();
        self.patch(item, json!({"finalizers": kept})).await
    }

    /// Changes metadata of exactly the object that the decision was made about.
    async fn patch(&self, item: &Item, mut metadata: serde_json::Value) -> Result<(), Error> {
        let object = &item.object;
        if let Some(fields) = metadata.as_object_mut() {
            fields.insert("uid".into(), object.uid.as_ref().into());
            fields.insert("resourceVersion".into(), object.revision.to_string().into());
        }
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let api = api(&self.client, &item.kind, object.key.namespace());
        let patched = api.patch_metadata(object.key.name(), &PatchParams::default(), &patch).await;
        if let Some(patched) = gone_is_fine(patched)? {
            let gone =
                |now: Option<&Metadata>| now.is_none_or(|now| now.uid != object.uid || now.revision > object.revision);
            // The removal of the last finalizer deletes the object: its answer's revision is not that of the deletion.
            item.objects.cache.until(&object.key, gone).await?;
            item.objects.cache.seen(patched.metadata.resource_version.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn delete(&self, item: &Item, propagation: Propagation) -> Result<(), Error> {
        let params = match propagation {
            Propagation::Background => DeleteParams::background(),
            Propagation::Foreground => DeleteParams::foreground(),
            Propagation::Orphan => DeleteParams::orphan(),
        };
        let object = &item.object;
        let exactly =
            Preconditions { uid: Some(object.uid.to_string()), resource_version: Some(object.revision.to_string()) };
        tracing::debug!(object = %place(&item.kind, object), ?propagation, "no owner is left");
        let api = api(&self.client, &item.kind, object.key.namespace());
        gone_is_fine(api.delete(object.key.name(), &params.preconditions(exactly)).await)?;
        let ends = |now: Option<&Metadata>| now.is_none_or(|now| now.uid != object.uid || now.deleting);
        Ok(item.objects.cache.until(&object.key, ends).await?)
    }
}

#[cfg(test)]
mod tests;
