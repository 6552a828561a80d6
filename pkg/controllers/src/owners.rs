//! Who controls what: `metadata.ownerReferences` with `controller: true`.
//!
//! A controller owns the objects that point at its UID and match its selector, adopts matching orphans, and releases what
//! matches no more (<https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#non-template-pod-acquisitions>).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use knarr_client::cache::Cached;
use knarr_client::{Cache, Change, Index, Key};
use kube::api::{Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{Error, gone_is_fine, is_not_found};

/// A typed, namespaced kind.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Cached + Clone + std::fmt::Debug + DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Cached + Clone + std::fmt::Debug + DeserializeOwned
{
}

/// A kind that controls the objects which a selector names.
pub(crate) trait Selects: Namespaced {
    /// `None` selects nothing: the selector is absent, empty or malformed.
    fn selector(&self) -> Option<Selector>;
}

/// The reference of the object's controller.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The UID of the object's controller; empty for an orphan.
pub(crate) fn controller_uid(meta: &ObjectMeta) -> &str {
    controller(meta).map_or("", |owner| owner.uid.as_str())
}

/// A reference that makes `owner` the controller.
pub(crate) fn reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Objects by the UID of their controller; orphans by their namespace and a slash.
pub(crate) fn by_controller<K: Namespaced>(cache: &Cache<K>) -> Index<K> {
    cache.index("controller", |object| match controller(object.meta()) {
        Some(owner) => vec![owner.uid.clone()],
        None => vec![orphans_of(object.meta().namespace.as_deref().unwrap_or_default())],
    })
}

fn orphans_of(namespace: &str) -> String {
    format!("{namespace}/")
}

/// Whether labels match; an absent map is an empty one.
pub(crate) fn matches(selector: &Selector, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.matches(labels.unwrap_or(&BTreeMap::new()))
}

/// The owners of kind `O` that a changed object concerns: those that it names on either side, and, for an orphan, those
/// that may adopt it.
pub(crate) fn keys<O: Selects, K: Namespaced>(owners: &Cache<O>, change: &Change<K>) -> Vec<Key> {
    let namespace = change.key.namespace();
    let named = change.sides().filter_map(|side| {
        let owner = controller(side.meta())?;
        let same_kind = owner.kind == O::kind(&()) && owner.api_version == O::api_version(&());
        same_kind.then(|| Key::new(namespace, &owner.name))
    });
    let mut keys: Vec<_> = named.collect();
    if let Some(orphan) = change.new.as_ref().filter(|object| controller(object.meta()).is_none()) {
        let adopts =
            |owner: &Arc<O>| owner.selector().is_some_and(|selector| matches(&selector, orphan.meta().labels.as_ref()));
        keys.extend(owners.in_namespace(namespace).iter().filter(|owner| adopts(owner)).map(|owner| owner.key()));
    }
    keys.dedup();
    keys
}

/// How an owner's objects stand to it.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    /// Point at the owner and match.
    pub(crate) owned: Vec<Arc<K>>,
    /// Match and point at nobody.
    pub(crate) adopt: Vec<Arc<K>>,
    /// Point at the owner and do not match.
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts `candidates`. An owner that is being deleted neither adopts nor releases; nothing that is being deleted is adopted.
pub(crate) fn claims<K: Namespaced>(owner: &ObjectMeta, selector: &Selector, candidates: Vec<Arc<K>>) -> Claims<K> {
    let uid = owner.uid.as_deref().unwrap_or_default();
    let alive = owner.deletion_timestamp.is_none();
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        let meta = object.meta();
        let matching = matches(selector, meta.labels.as_ref());
        match controller(meta) {
            Some(owner) if owner.uid != uid => {}
            Some(_) if matching => claims.owned.push(object),
            Some(_) if alive => claims.release.push(object),
            None if matching && alive && meta.deletion_timestamp.is_none() => claims.adopt.push(object),
            _ => {}
        }
    }
    claims
}

/// The objects of kind `K` that could belong to an owner.
pub(crate) struct Candidates<'a, K> {
    pub(crate) cache: &'a Cache<K>,
    pub(crate) index: &'a Index<K>,
}

impl<K: Namespaced> Candidates<'_, K> {
    /// What points at the owner, and the orphans of its namespace.
    pub(crate) fn of(&self, owner: &ObjectMeta) -> Vec<Arc<K>> {
        let mut found = self.index.get(owner.uid.as_deref().unwrap_or_default());
        found.extend(self.index.get(&orphans_of(owner.namespace.as_deref().unwrap_or_default())));
        found
    }

    /// What belongs to the owner after matching orphans were adopted and the others released; of those, only what `wanted`
    /// lets through is looked at.
    pub(crate) async fn claim<O: Selects>(
        &self,
        client: &Client,
        owner: &O,
        selector: &Selector,
        wanted: fn(&K) -> bool,
    ) -> Result<Vec<Arc<K>>, Error> {
        let look = || claims(owner.meta(), selector, self.of(owner.meta()).into_iter().filter(|k| wanted(k)).collect());
        let now = look();
        if now.adopt.is_empty() && now.release.is_empty() {
            return Ok(now.owned);
        }
        if !now.adopt.is_empty() {
            still_there(client, owner).await?;
        }
        let own = reference(owner);
        for object in &now.adopt {
            self.refer(client, object, json!(own)).await?;
        }
        for object in &now.release {
            self.refer(client, object, json!({"$patch": "delete", "uid": own.uid})).await?;
        }
        Ok(look().owned)
    }

    /// Changes one owner reference; the UID in the patch keeps a namesake safe.
    async fn refer(&self, client: &Client, object: &K, reference: serde_json::Value) -> Result<(), Error> {
        let meta = object.meta();
        let api = Api::<K>::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": [reference]}});
        let name = meta.name.as_deref().unwrap_or_default();
        let patched = api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Some(patched) = gone_is_fine(patched)? {
            self.cache.seen(patched.meta().resource_version.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }
}

/// Asks the server, not the cache: an owner that is gone must not adopt (the garbage collector would take the adopted).
async fn still_there<O: Selects>(client: &Client, owner: &O) -> Result<(), Error> {
    let meta = owner.meta();
    let api = Api::<O>::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let gone = || Error::Unusable("the owner is being deleted and adopts nothing".into());
    match api.get(meta.name.as_deref().unwrap_or_default()).await {
        Ok(live) if live.meta().uid == meta.uid && live.meta().deletion_timestamp.is_none() => Ok(()),
        Ok(_) => Err(gone()),
        Err(error) if is_not_found(&error) => Err(gone()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn owned(mut pod: Pod, uid: &str) -> Pod {
        let owner = OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() };
        pod.metadata.owner_references = Some(vec![owner]);
        pod
    }

    fn relabelled(mut pod: Pod) -> Pod {
        pod.metadata.labels = None;
        pod
    }

    fn deleting(mut pod: Pod) -> Pod {
        pod.metadata.deletion_timestamp = Some(Time(at(0)));
        pod
    }

    #[test]
    fn who_belongs_to_whom() {
        let plain = |name| pod(name, "", "Running", None);
        let candidates = [
            owned(plain("mine"), "u"),
            owned(relabelled(plain("lost")), "u"),
            owned(plain("others"), "x"),
            plain("orphan"),
            relabelled(plain("stranger")),
            deleting(plain("dying-orphan")),
            deleting(owned(plain("dying"), "u")),
        ];
        let selector: Selector = [("app", "web")].into_iter().collect();
        let candidates: Vec<_> = candidates.into_iter().map(Arc::new).collect();
        let names = |list: &[Arc<Pod>]| list.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>();
        let mut owner = ObjectMeta { uid: Some("u".into()), ..Default::default() };
        let alive = claims(&owner, &selector, candidates.clone());
        assert_eq!(names(&alive.owned), ["mine", "dying"]);
        assert_eq!(names(&alive.adopt), ["orphan"]);
        assert_eq!(names(&alive.release), ["lost"]);
        owner.deletion_timestamp = Some(Time(at(0)));
        let dying = claims(&owner, &selector, candidates);
        assert_eq!(names(&dying.owned), ["mine", "dying"]);
        assert!(dying.adopt.is_empty() && dying.release.is_empty());
    }
}
