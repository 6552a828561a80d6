//! Rolls out what a Deployment describes, by ReplicaSets
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>).

mod conditions;
mod fleet;
mod hash;
mod history;
mod plan;
mod rolling;
mod status;
mod wanted;

use std::convert::Infallible;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use knarr_base::Shutdown;
use knarr_client::events::Type;
use knarr_client::{Action, Cache, Change, Controller, Index, Key, Recorder};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};

use crate::deps::Deps;
use crate::error::{Error, already_exists, gone_is_fine, namespace_terminating, said};
use crate::owners::{self, Candidates, Selects};
use crate::pods;
use fleet::Member;
use plan::{Observed, Plan};
use wanted::Wanted;

const NAME: &str = "deployment-controller";
const WORKERS: usize = 5;

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let (deployments, sets, pods) = (deps.cache::<Deployment>(), deps.cache::<ReplicaSet>(), deps.cache::<Pod>());
    let mut controller = Controller::new(NAME);
    controller.watch(&deployments, |change| vec![change.key.clone()]);
    controller.watch(&sets, {
        let deployments = deployments.clone();
        move |change| owners::keys(&deployments, change)
    });
    controller.watch(&pods, {
        let (deployments, sets) = (deployments.clone(), sets.clone());
        move |change| freed(&deployments, &sets, change)
    });
    let context = Context {
        owned: owners::by_controller(&sets),
        pods: owners::by_controller(&pods),
        client: deps.client(NAME),
        recorder: deps.recorder(NAME),
        deployments,
        sets,
    };
    controller.run(WORKERS, shutdown, |key| context.reconcile(key)).await
}

impl Selects for Deployment {
    fn selector(&self) -> Option<Selector> {
        let selector = Selector::try_from(self.spec.as_ref()?.selector.clone()).ok()?;
        (!selector.selects_all()).then_some(selector)
    }
}

/// The Deployment that waits for the end of a pod (strategy Recreate).
fn freed(deployments: &Cache<Deployment>, sets: &Cache<ReplicaSet>, change: &Change<Pod>) -> Vec<Key> {
    let waiting = || {
        if change.new.as_ref().is_some_and(|pod| !pods::is_terminal(pod)) {
            return None;
        }
        let namespace = change.key.namespace();
        let set = owners::controller(&change.latest().metadata)?;
        let set = sets.get(namespace, &set.name)?;
        let deployment = deployments.get(namespace, &owners::controller(&set.metadata)?.name)?;
        (!Wanted::of(&deployment).rolling).then(|| Key::of(deployment.as_ref()))
    };
    waiting().into_iter().collect()
}

struct Context {
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    owned: Index<ReplicaSet>,
    pods: Index<Pod>,
    client: Client,
    recorder: Recorder,
}

impl Context {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(deployment) = self.deployments.at(&key) else { return Ok(Action::Done) };
        let Some(selector) = deployment.selector() else { return Ok(Action::Done) };
        let candidates = Candidates { cache: &self.sets, index: &self.owned };
        let sets = candidates.claim(&self.client, deployment.as_ref(), &selector, |_| true).await?;
        let busy = |uid: &String| self.pods.get(uid).iter().any(|pod| !pods::is_terminal(pod));
        let busy = sets.iter().filter_map(|set| set.metadata.uid.clone()).filter(busy).collect();
        let plan = plan::plan(Observed { deployment: &deployment, sets, busy, now: Timestamp::now() });
        let again = plan.again;
        self.apply(&deployment, plan).await?;
        Ok(again.map_or(Action::Done, Action::After))
    }

    async fn apply(&self, deployment: &Deployment, plan: Plan) -> Result<(), Error> {
        for member in plan.write {
            self.write(deployment, member).await?;
        }
        for name in plan.delete {
            self.delete(deployment, &name).await?;
        }
        self.report(deployment, plan.revision, plan.status).await
    }

    async fn write(&self, deployment: &Deployment, member: Member) -> Result<(), Error> {
        let (name, to) = (member.set.name_any(), member.size());
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default());
        let written = match member.from {
            Some(_) => api.replace(&name, &PostParams::default(), &member.set).await?,
            None => match api.create(&PostParams::default(), &member.set).await {
                Ok(created) => created,
                Err(error) => return self.not_created(deployment, &api, &name, error).await,
            },
        };
        let from = member.from.unwrap_or_default();
        if from != to {
            let direction = if from < to { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
            self.recorder.event(deployment, Type::Normal, "ScalingReplicaSet", message);
        }
        Ok(self.sets.seen(written.metadata.resource_version.as_deref().unwrap_or_default()).await?)
    }

    /// A name that is taken by something else is a collision of hashes: the next try uses another one.
    async fn not_created(
        &self,
        deployment: &Deployment,
        api: &Api<ReplicaSet>,
        name: &str,
        error: kube::Error,
    ) -> Result<(), Error> {
        let mut status = deployment.status.clone().unwrap_or_default();
        if already_exists(&error) {
            let taken = api.get(name).await?;
            let template = deployment.spec.as_ref().map(|spec| &spec.template);
            let ours = owners::controller_uid(&taken.metadata) == deployment.uid().unwrap_or_default()
                && template.is_some_and(|template| hash::is_of(&taken, template));
            if !ours {
                status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
                self.report(deployment, None, status).await?;
            }
        } else if !namespace_terminating(&error) {
            let message = format!("Failed to create new replica set \"{name}\": {}", said(&error));
            if Wanted::of(deployment).progress_deadline.is_some() {
                let mut list = status.conditions.take().unwrap_or_default();
                let (kind, reason) = (conditions::PROGRESSING, "ReplicaSetCreateError");
                conditions::set(&mut list, conditions::new(kind, "False", reason, &message, Timestamp::now()));
                status.conditions = Some(list);
                self.report(deployment, None, status).await?;
            }
            self.recorder.event(deployment, Type::Warning, "ReplicaSetCreateError", message);
        }
        Err(error.into())
    }

    async fn delete(&self, deployment: &Deployment, name: &str) -> Result<(), Error> {
        let namespace = deployment.namespace().unwrap_or_default();
        let Some(set) = self.sets.get(&namespace, name) else { return Ok(()) };
        let uid = set.uid();
        let same = Preconditions { uid: uid.clone(), resource_version: None };
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &namespace);
        gone_is_fine(api.delete(name, &DeleteParams::default().preconditions(same)).await)?;
        let ends = |set: Option<&ReplicaSet>| {
            set.is_none_or(|set| set.metadata.uid != uid || set.metadata.deletion_timestamp.is_some())
        };
        Ok(self.sets.until(&Key::new(&namespace, name), ends).await?)
    }

    /// Writes what differs. The revision goes with the status: a change of annotations through the object itself would
    /// count as a new generation.
    async fn report(&self, old: &Deployment, revision: Option<String>, status: DeploymentStatus) -> Result<(), Error> {
        if revision.is_none() && !status::differs(&old.status.clone().unwrap_or_default(), &status) {
            return Ok(());
        }
        let mut new = Deployment { status: Some(status), ..old.clone() };
        if let Some(revision) = revision {
            new.annotations_mut().insert(history::REVISION.into(), revision);
        }
        let api = Api::<Deployment>::namespaced(self.client.clone(), &old.namespace().unwrap_or_default());
        let written = api.replace_status(&old.name_any(), &PostParams::default(), &new).await?;
        Ok(self.deployments.seen(written.metadata.resource_version.as_deref().unwrap_or_default()).await?)
    }
}

#[cfg(test)]
mod tests;
