//! The older form of EndpointSlices: one Endpoints object per Service, and back again: slices for Endpoints that somebody
//! wrote by hand.

pub(crate) mod mirror;
mod subsets;

use std::convert::Infallible;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use knarr_base::Shutdown;
use knarr_client::events::Type;
use knarr_client::{Action, Cache, Controller, Key, Recorder};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::deps::Deps;
use crate::endpointslice::{HEADLESS, affected, is_headless, selector};
use crate::error::{Error, gone_is_fine, namespace_terminating, said};

const NAME: &str = "endpoint-controller";
const WORKERS: usize = 5;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let context = Context {
        services: deps.cache(),
        pods: deps.cache(),
        endpoints: deps.cache(),
        client: deps.client(NAME),
        recorder: deps.recorder(NAME),
    };
    let mut controller = Controller::new(NAME);
    controller.watch(&context.services, |change| vec![change.key.clone()]);
    controller.watch(&context.endpoints, |change| {
        change.sides().filter(|endpoints| is_ours(endpoints)).map(|_| change.key.clone()).collect()
    });
    controller.watch(&context.pods, {
        let services = context.services.clone();
        move |change| affected(&services, change)
    });
    controller.run(WORKERS, shutdown, |key| context.reconcile(key)).await
}

/// Whether this controller wrote the object.
fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY).is_some_and(|by| by == NAME)
}

struct Context {
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<Endpoints>,
    client: Client,
    recorder: Recorder,
}

impl Context {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let current = self.endpoints.at(&key);
        let Some(service) = self.services.at(&key) else {
            if let Some(endpoints) = current.filter(|endpoints| is_ours(endpoints)) {
                self.delete(&key, &endpoints).await?;
            }
            return Ok(Action::Done);
        };
        let Some(selects) = selector(&service) else { return Ok(Action::Done) };
        let pods: Vec<_> = self.pods.in_namespace(key.namespace()).into_iter().filter(|pod| selects(pod)).collect();
        let Some(wanted) = plan(&service, &pods, current.as_deref()) else { return Ok(Action::Done) };
        let api = Api::<Endpoints>::namespaced(self.client.clone(), key.namespace());
        let written = match &current {
            Some(_) => api.replace(key.name(), &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match written {
            Ok(written) => {
                self.endpoints.seen(written.metadata.resource_version.as_deref().unwrap_or_default()).await?;
            }
            Err(error) if namespace_terminating(&error) => {}
            Err(error) => {
                let (reason, verb) = match current {
                    Some(_) => ("FailedToUpdateEndpoint", "update endpoint"),
                    None => ("FailedToCreateEndpoint", "create endpoint for service"),
                };
                let message = format!("Failed to {verb} {key}: {}", said(&error));
                self.recorder.event(&wanted, Type::Warning, reason, message);
                return Err(error.into());
            }
        }
        Ok(Action::Done)
    }

    async fn delete(&self, key: &Key, endpoints: &Endpoints) -> Result<(), Error> {
        let api = Api::<Endpoints>::namespaced(self.client.clone(), key.namespace());
        gone_is_fine(api.delete(key.name(), &DeleteParams::default()).await)?;
        let uid = endpoints.uid();
        Ok(self.endpoints.until(key, |now| now.is_none_or(|now| now.metadata.uid != uid)).await?)
    }
}

/// The Endpoints of a Service as they should be; `None` when they are so.
fn plan(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let (subsets, cut) = subsets::subsets(service, pods);
    let mut wanted = current.cloned().unwrap_or_default();
    wanted.metadata.name = service.metadata.name.clone();
    wanted.metadata.namespace.clone_from(&service.metadata.namespace);
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.into(), NAME.into());
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    wanted.metadata.labels = Some(labels);
    if cut {
        wanted.annotations_mut().insert(OVER_CAPACITY.into(), "truncated".into());
    } else if let Some(annotations) = &mut wanted.metadata.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    wanted.subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
    (current != Some(&wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests;
