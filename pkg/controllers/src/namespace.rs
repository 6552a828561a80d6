//! Deletes everything in a namespace that is being deleted, then lets it go
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/>).
//!
//! Pods go first, so that nothing that they use vanishes under them (KEP-5080). What is left is known from the inventory;
//! before the last step the server itself is asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_base::Shutdown;
use knarr_client::cache::Metadata;
use knarr_client::{Action, Cache, Change, Controller, Key};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::deps::Deps;
use crate::error::{Error, gone_is_fine, said};
use crate::inventory::{Inventory, Kind, Tracked, api};

const NAME: &str = "namespace-controller";
const WORKERS: usize = 5;
const FINALIZER: &str = "kubernetes";
const PODS: &str = "pods";

/// How soon to look again when something is left that the inventory does not follow.
const SOON: Duration = Duration::from_secs(2);

/// The controller, and the way to tell it of changes.
pub(crate) struct Remover {
    namespaces: Cache<Namespace>,
    inventory: Arc<Inventory>,
    controller: Controller<Key>,
    client: Client,
}

impl Remover {
    pub(crate) fn new(deps: &Deps, inventory: Arc<Inventory>) -> Self {
        let namespaces = deps.cache::<Namespace>();
        let mut controller = Controller::new(NAME);
        controller.watch(&namespaces, |change| change.new.iter().map(|_| change.key.clone()).collect());
        Self { namespaces, inventory, controller, client: deps.client(NAME) }
    }

    /// To be called for every change of the inventory: what goes from a namespace that is being deleted wakes it.
    pub(crate) fn listener(&self) -> impl Fn(&Arc<Kind>, &Change<Metadata>) + Send + Sync + use<> {
        let (namespaces, queue) = (self.namespaces.clone(), self.controller.queue());
        move |_, change| {
            let namespace = change.key.namespace();
            if namespaces.get("", namespace).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                queue.add(Key::new("", namespace));
            }
        }
    }

    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), Infallible> {
        if shutdown.or(self.inventory.complete()).await.is_none() {
            return Ok(());
        }
        let work = Work { namespaces: self.namespaces, inventory: self.inventory, client: self.client };
        self.controller.run(WORKERS, shutdown, |key| work.reconcile(key)).await
    }
}

struct Work {
    namespaces: Cache<Namespace>,
    inventory: Arc<Inventory>,
    client: Client,
}

impl Work {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(namespace) = self.namespaces.at(&key) else { return Ok(Action::Done) };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() || !finalizers.iter().any(|own| own == FINALIZER) {
            return Ok(Action::Done);
        }
        let mut failures = self.delete_tracked(key.name()).await;
        let mut left = self.left(key.name());
        if left.is_empty() && failures.is_empty() {
            failures.extend(self.delete_rest(key.name(), &mut left).await.err());
        }
        let untracked = left.values().any(|objects| objects.is_empty());
        self.report(&namespace, conditions(&left, &failures)).await?;
        match failures.into_iter().next() {
            Some(failure) => Err(Error::Unusable(failure)),
            None if left.is_empty() => self.finalize(&key).await.map(|()| Action::Done),
            None if untracked => Ok(Action::After(SOON)),
            None => Ok(Action::Done),
        }
    }

    fn namespaced(&self) -> impl Iterator<Item = Tracked> {
        self.inventory.kinds().into_iter().filter(|tracked| tracked.kind.namespaced)
    }

    /// What the inventory knows to be there, by kind.
    fn left(&self, namespace: &str) -> Left {
        let objects = |tracked: Tracked| {
            let objects = tracked.objects?.cache.in_namespace(namespace);
            (!objects.is_empty()).then(|| (tracked.kind.resource.clone(), objects))
        };
        self.namespaced().filter_map(objects).collect()
    }

    /// Asks for the deletion of all known objects that are not being deleted yet: of pods while there are any, then of the
    /// rest. Returns what went wrong.
    async fn delete_tracked(&self, namespace: &str) -> Vec<String> {
        let left = self.left(namespace);
        let mut failures = Vec::new();
        for (resource, objects) in &left {
            let waits = left.contains_key(PODS) && resource.as_ref() != PODS;
            let Some(tracked) = self.inventory.kind(resource).filter(|_| !waits) else { continue };
            if objects.iter().all(|object| object.deleting) {
                continue;
            }
            if let Err(error) = self.delete_all(&tracked.kind, namespace).await {
                failures.push(said(&error));
                continue;
            }
            let Some(known) = &tracked.objects else { continue };
            for object in objects {
                let ends = |now: Option<&Metadata>| now.is_none_or(|now| now.uid != object.uid || now.deleting);
                if let Err(behind) = known.cache.until(&object.key, ends).await {
                    failures.push(behind.to_string());
                    break;
                }
            }
        }
        failures
    }

    /// Deletes what the inventory does not follow (Events), and asks the server whether anything at all is left.
    async fn delete_rest(&self, namespace: &str, left: &mut Left) -> Result<(), String> {
        for Tracked { kind, objects } in self.namespaced() {
            if objects.is_none() {
                self.delete_all(&kind, namespace).await.map_err(|error| said(&error))?;
            }
            if kind.can("list") {
                let list = api(&self.client, &kind, namespace).list_metadata(&ListParams::default().limit(1)).await;
                if !list.map_err(|error| said(&error))?.items.is_empty() {
                    left.insert(kind.resource.clone(), Vec::new());
                }
            }
        }
        Ok(())
    }

    async fn delete_all(&self, kind: &Kind, namespace: &str) -> Result<(), kube::Error> {
        let (api, params) = (api(&self.client, kind, namespace), DeleteParams::background());
        if kind.can("deletecollection") {
            return gone_is_fine(api.delete_collection(&params, &ListParams::default()).await).map(|_| ());
        }
        if kind.can("list") {
            for object in api.list_metadata(&ListParams::default()).await? {
                gone_is_fine(api.delete(&object.name_any(), &params).await)?;
            }
        }
        Ok(())
    }

    async fn report(&self, namespace: &Namespace, wanted: Vec<Found>) -> Result<(), Error> {
        let old = namespace.status.clone().unwrap_or_default();
        let conditions = merged(old.conditions.clone().unwrap_or_default(), wanted, Timestamp::now());
        let status = NamespaceStatus { phase: Some("Terminating".into()), conditions: Some(conditions) };
        if status == old {
            return Ok(());
        }
        let changed = Namespace { status: Some(status), ..namespace.clone() };
        let api = Api::<Namespace>::all(self.client.clone());
        let written = api.replace_status(&namespace.name_any(), &PostParams::default(), &changed).await;
        if let Some(written) = gone_is_fine(written)? {
            self.namespaces.seen(written.metadata.resource_version.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Takes the finalizer off the spec; the server deletes a namespace that has none left.
    async fn finalize(&self, key: &Key) -> Result<(), Error> {
        let Some(namespace) = self.namespaces.at(key) else { return Ok(()) };
        let mut empty = namespace.as_ref().clone();
        if let Some(finalizers) = empty.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|own| own != FINALIZER);
        }
        let api = Api::<Namespace>::all(self.client.clone());
        gone_is_fine(api.replace_subresource("finalize", key.name(), &PostParams::default(), &empty).await)?;
        let uid = namespace.uid();
        let gone = |now: Option<&Namespace>| {
            let held =
                |now: &Namespace| now.spec.iter().flat_map(|s| s.finalizers.iter().flatten()).any(|f| f == FINALIZER);
            now.is_none_or(|now| now.metadata.uid != uid || !held(now))
        };
        Ok(self.namespaces.until(key, gone).await?)
    }
}

/// What is there, by kind; empty lists where only the server knows what it is.
type Left = BTreeMap<Arc<str>, Vec<Arc<Metadata>>>;

/// A condition: type, and when it holds its reason and message.
type Found = (Condition, Option<String>);

/// A condition's type, its reason and message when all is well, and its reason when not.
#[derive(Clone, Copy)]
struct Condition {
    kind: &'static str,
    well: (&'static str, &'static str),
    reason: &'static str,
}

const DISCOVERY: Condition = Condition {
    kind: "NamespaceDeletionDiscoveryFailure",
    well: ("ResourcesDiscovered", "All resources successfully discovered"),
    reason: "DiscoveryFailed",
};
const PARSING: Condition = Condition {
    kind: "NamespaceDeletionGroupVersionParsingFailure",
    well: ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    reason: "GroupVersionParsingFailed",
};
const DELETION: Condition = Condition {
    kind: "NamespaceDeletionContentFailure",
    well: ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    reason: "ContentDeletionFailed",
};
const CONTENT: Condition = Condition {
    kind: "NamespaceContentRemaining",
    well: ("ContentRemoved", "All content successfully removed"),
    reason: "SomeResourcesRemain",
};
const FINALIZERS: Condition = Condition {
    kind: "NamespaceFinalizersRemaining",
    well: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    reason: "SomeFinalizersRemain",
};

fn conditions(left: &Left, failures: &[String]) -> Vec<Found> {
    let failed = (!failures.is_empty())
        .then(|| format!("Failed to delete all resource types, {} remaining: {}", failures.len(), failures.join(", ")));
    vec![(DISCOVERY, None), (PARSING, None), (DELETION, failed), (CONTENT, remaining(left)), (FINALIZERS, held(left))]
}

fn remaining(left: &Left) -> Option<String> {
    let part = |(resource, objects): (&Arc<str>, &Vec<_>)| {
        let dotted = if resource.contains('.') { resource.to_string() } else { format!("{resource}.") };
        format!("{dotted} has {} resource instances", objects.len().max(1))
    };
    let parts: Vec<_> = left.iter().map(part).collect();
    (!parts.is_empty()).then(|| format!("Some resources are remaining: {}", parts.join(", ")))
}

fn held(left: &Left) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in left.values().flatten().flat_map(|object| object.finalizers.iter()) {
        *counts.entry(finalizer).or_default() += 1;
    }
    let part = |(finalizer, count)| format!("{finalizer} in {count} resource instances");
    let parts: Vec<_> = counts.into_iter().map(part).collect();
    (!parts.is_empty()).then(|| format!("Some content in the namespace has finalizers remaining: {}", parts.join(", ")))
}

/// Brings conditions up to date; the time moves only with the status.
fn merged(mut conditions: Vec<NamespaceCondition>, wanted: Vec<Found>, now: Timestamp) -> Vec<NamespaceCondition> {
    for (condition, trouble) in wanted {
        let (status, reason, message) = match trouble {
            Some(message) => ("True", condition.reason, message),
            None => ("False", condition.well.0, condition.well.1.to_owned()),
        };
        let old = conditions.iter().find(|old| old.type_ == condition.kind && old.status == status);
        let new = NamespaceCondition {
            type_: condition.kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: old.map_or(Some(Time(now)), |old| old.last_transition_time.clone()),
        };
        match conditions.iter_mut().find(|old| old.type_ == condition.kind) {
            Some(slot) => *slot = new,
            None => conditions.push(new),
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::at;

    fn left(kinds: &[(&str, &[&str])]) -> Left {
        let object = |finalizer: &&str| {
            let finalizers = Some(*finalizer).filter(|f| !f.is_empty()).map(Into::into).into_iter().collect();
            Arc::new(Metadata { finalizers, ..Metadata::default() })
        };
        kinds.iter().map(|(kind, objects)| ((*kind).into(), objects.iter().map(object).collect())).collect()
    }

    #[test]
    fn conditions_say_what_is_left() {
        let left = left(&[("pods", &["", ""]), ("ships.example.io", &["example.io/a", "example.io/a"])]);
        let conditions = merged(Vec::new(), conditions(&left, &["no".to_owned()]), at(5));
        let found: Vec<_> = conditions.iter().map(|c| (c.status.as_str(), c.message.as_deref().unwrap())).collect();
        let expected = [
            ("False", "All resources successfully discovered"),
            ("False", "All legacy kube types successfully parsed"),
            ("True", "Failed to delete all resource types, 1 remaining: no"),
            (
                "True",
                "Some resources are remaining: pods. has 2 resource instances, ships.example.io has 2 resource instances",
            ),
            ("True", "Some content in the namespace has finalizers remaining: example.io/a in 2 resource instances"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn times_of_conditions_move_with_their_status() {
        let nothing = || conditions(&Left::new(), &[]);
        let some = || conditions(&left(&[("pods", &[""])]), &[]);
        let first = merged(Vec::new(), some(), at(0));
        assert_eq!(merged(first.clone(), some(), at(9)), first);
        let done = merged(first, nothing(), at(9));
        let times: Vec<_> = done.iter().map(|c| c.last_transition_time.as_ref().unwrap().0).collect();
        assert_eq!(times, [at(0), at(0), at(0), at(9), at(0)]);
    }
}
