//! Keeps the number of pods that a ReplicaSet or a ReplicationController asks for.

mod kinds;
mod plan;
mod rank;

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_base::Shutdown;
use knarr_client::cache::Cached;
use knarr_client::events::Type;
use knarr_client::{Action, Cache, Controller, Index, Key, Recorder};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Selector;
use kube::{Api, Client};

use crate::deps::Deps;
use crate::error::{Error, gone_is_fine, namespace_terminating, said};
use crate::owners::{self, Candidates, reference};
use crate::pods;
use kinds::Replicated;
use plan::{Observed, Plan};

pub(crate) use k8s_openapi::api::apps::v1::ReplicaSet;
pub(crate) use k8s_openapi::api::core::v1::ReplicationController;

/// How many are worked on at a time.
const WORKERS: usize = 5;

/// Runs the controller of one of the two kinds.
pub(crate) async fn run<O: Kind>(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let (owners, pods) = (deps.cache::<O>(), deps.cache::<Pod>());
    let mut controller = Controller::new(O::NAME);
    controller.watch(&owners, |change| vec![change.key.clone()]);
    controller.watch(&pods, {
        let owners = owners.clone();
        move |change| owners::keys(&owners, change)
    });
    let context = Context {
        siblings: owners::by_controller(&owners),
        owned: owners::by_controller(&pods),
        client: deps.client(O::NAME),
        recorder: deps.recorder(O::NAME),
        owners,
        pods,
    };
    controller.run(WORKERS, shutdown, |key| context.reconcile(key)).await
}

/// One of the two kinds.
#[allow(private_bounds, reason = "what the kinds have in common is this module's business")]
pub(crate) trait Kind: Replicated {}

impl Kind for ReplicaSet {}
impl Kind for ReplicationController {}

/// What the status tells of an error. A cache that is late is nobody's failure: the writes were made.
fn failure(error: &Error) -> Option<String> {
    (!matches!(error, Error::Behind(_))).then(|| error.to_string())
}

struct Context<O> {
    owners: Cache<O>,
    siblings: Index<O>,
    pods: Cache<Pod>,
    owned: Index<Pod>,
    client: Client,
    recorder: Recorder,
}

impl<O: Replicated> Context<O> {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(owner) = self.owners.at(&key) else { return Ok(Action::Done) };
        let Some(selector) = owner.selector() else { return Ok(Action::Done) };
        let candidates = Candidates { cache: &self.pods, index: &self.owned };
        let active = candidates.claim(&self.client, owner.as_ref(), &selector, pods::is_active).await?;
        let managed = match owner.meta().deletion_timestamp {
            None => self.manage(&owner, active).await,
            Some(_) => Ok(()),
        };
        let failure = managed.as_ref().err().and_then(failure);
        let action = self.report(&owner, &selector, failure).await?;
        managed.map(|()| action)
    }

    async fn manage(&self, owner: &O, active: Vec<Arc<Pod>>) -> Result<(), Error> {
        match plan::plan(owner.replicas(), active, &self.related(owner), Timestamp::now()) {
            Plan::Keep => Ok(()),
            Plan::Create(missing) => self.create(owner, missing).await,
            Plan::Delete(surplus) => {
                let deleted = join_all(surplus.iter().map(|pod| self.delete(owner, pod))).await;
                deleted.into_iter().collect()
            }
        }
    }

    /// The pods of all that share the owner's own controller.
    fn related(&self, owner: &O) -> Vec<Arc<Pod>> {
        let Some(controller) = owners::controller(owner.meta()) else { return Vec::new() };
        let siblings = self.siblings.get(&controller.uid);
        siblings.iter().flat_map(|sibling| self.owned.get(sibling.meta().uid.as_deref().unwrap_or_default())).collect()
    }

    /// In batches of 1, 2, 4, ...: when all would fail (quota), only the first is tried.
    async fn create(&self, owner: &O, missing: usize) -> Result<(), Error> {
        let Some(template) = owner.template() else { return Ok(()) };
        let pod = plan::pod(template, reference(owner));
        let (mut left, mut batch, mut newest) = (missing, 1, None);
        let mut outcome = Ok(());
        while left > 0 && outcome.is_ok() {
            let created = join_all((0..batch.min(left)).map(|_| self.create_one(owner, &pod))).await;
            for one in created {
                match one {
                    Ok(revision) => newest = newest.max(revision),
                    Err(error) => outcome = Err(error),
                }
            }
            left = left.saturating_sub(batch);
            batch *= 2;
        }
        if let Some(newest) = newest {
            self.pods.seen(&newest.to_string()).await?;
        }
        outcome
    }

    /// The revision of the new pod; `None` when the namespace is going away.
    async fn create_one(&self, owner: &O, pod: &Pod) -> Result<Option<u64>, Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), owner.meta().namespace.as_deref().unwrap_or_default());
        match api.create(&PostParams::default(), pod).await {
            Ok(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                self.recorder.event(owner, Type::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(Some(pod.revision()))
            }
            Err(error) if namespace_terminating(&error) => Ok(None),
            Err(error) => {
                self.recorder.event(owner, Type::Warning, "FailedCreate", format!("Error creating: {}", said(&error)));
                Err(error.into())
            }
        }
    }

    async fn delete(&self, owner: &O, pod: &Pod) -> Result<(), Error> {
        let (key, uid) = (Key::of(pod), pod.metadata.uid.clone());
        let same = Preconditions { uid: uid.clone(), resource_version: None };
        let api = Api::<Pod>::namespaced(self.client.clone(), key.namespace());
        match gone_is_fine(api.delete(key.name(), &DeleteParams::default().preconditions(same)).await) {
            Ok(Some(_)) => {
                let message = format!("Deleted pod: {}", key.name());
                self.recorder.event(owner, Type::Normal, "SuccessfulDelete", message);
            }
            Ok(None) => {}
            Err(error) => {
                self.recorder.event(owner, Type::Warning, "FailedDelete", format!("Error deleting: {}", said(&error)));
                return Err(Error::Unusable(format!("unable to delete pods: {}", said(&error))));
            }
        }
        let ends = |pod: Option<&Pod>| pod.is_none_or(|pod| pod.metadata.uid != uid || !pods::is_active(pod));
        Ok(self.pods.until(&key, ends).await?)
    }

    /// Writes the status when it differs, and says when to look at `minReadySeconds` again.
    async fn report(&self, owner: &O, selector: &Selector, failure: Option<String>) -> Result<Action, Error> {
        let mine =
            owners::claims(owner.meta(), selector, self.owned.get(owner.meta().uid.as_deref().unwrap_or_default()));
        let terminating = mine.owned.iter().filter(|pod| pods::is_terminating(pod)).count();
        let active: Vec<_> = mine.owned.into_iter().filter(|pod| pods::is_active(pod)).collect();
        let (old, now) = (owner.status(), Timestamp::now());
        let observed = Observed {
            generation: owner.meta().generation,
            wanted: owner.replicas(),
            min_ready_seconds: owner.min_ready_seconds(),
            template: owner.template(),
            active: &active,
            terminating: O::COUNTS_TERMINATING.then_some(terminating),
            failure,
            now,
        };
        let new = plan::status(&old, &observed);
        if plan::differs(&old, &new) {
            let api = Api::<O>::namespaced(self.client.clone(), owner.meta().namespace.as_deref().unwrap_or_default());
            let name = owner.meta().name.as_deref().unwrap_or_default();
            let written = api.replace_status(name, &PostParams::default(), &owner.with_status(new)).await;
            if let Some(written) = gone_is_fine(written)? {
                self.owners.seen(&written.revision().to_string()).await?;
            }
        }
        let waits = active.iter().filter_map(|pod| pods::available_in(pod, owner.min_ready_seconds(), now));
        Ok(waits.min().map_or(Action::Done, Action::After))
    }
}
