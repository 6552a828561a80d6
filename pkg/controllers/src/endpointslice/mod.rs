//! Publishes the pods behind each Service as EndpointSlices
//! (<https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>).

pub(crate) mod endpoint;
pub(crate) mod plan;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_base::Shutdown;
use knarr_client::cache::Cached;
use knarr_client::events::Type;
use knarr_client::{Action, Cache, Change, Controller, Index, Key, Recorder};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::deps::Deps;
use crate::error::{Error, gone_is_fine, namespace_terminating};
use crate::owners::reference;
use crate::pods;
use plan::{Frame, Plan};

const NAME: &str = "endpointslice-controller";
const WORKERS: usize = 5;

/// Which controller a slice belongs to.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Which Service a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Set on what belongs to a headless Service.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// `--max-endpoints-per-slice`.
const CAPACITY: usize = 100;

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let (services, pods, nodes) = (deps.cache::<Service>(), deps.cache::<Pod>(), deps.cache::<Node>());
    let slices = deps.cache::<EndpointSlice>();
    let mut controller = Controller::new(NAME);
    controller.watch(&services, |change| vec![change.key.clone()]);
    controller.watch(&slices, |change| owner(change, MANAGER));
    controller.watch(&pods, {
        let services = services.clone();
        move |change| affected(&services, change)
    });
    controller.watch(&nodes, {
        let (services, on_node) = (services.clone(), by_node(&pods));
        move |change: &Change<Node>| {
            let moved = zone(change.old.as_deref()) != zone(change.new.as_deref());
            let pods = if moved { on_node.get(change.key.name()) } else { Vec::new() };
            pods.iter().flat_map(|pod| selecting(&services, pod)).collect()
        }
    });
    let context = Context {
        by_service: by_service(&slices),
        client: deps.client(NAME),
        recorder: deps.events.recorder(deps.client(NAME), "endpoint-slice-controller", ""),
        services,
        pods,
        nodes,
        slices,
    };
    controller.run(WORKERS, shutdown, |key| context.reconcile(key)).await
}

/// Slices by `namespace/service`.
pub(crate) fn by_service(slices: &Cache<EndpointSlice>) -> Index<EndpointSlice> {
    slices.index("service", |slice| {
        let service = slice.labels().get(SERVICE_NAME);
        service.map(|name| Key::new(&slice.namespace().unwrap_or_default(), name).to_string()).into_iter().collect()
    })
}

/// Pods by the node that they are bound to.
pub(crate) fn by_node(pods: &Cache<Pod>) -> Index<Pod> {
    pods.index("node", |pod| Some(pods::node(pod).to_owned()).into_iter().filter(|node| !node.is_empty()).collect())
}

/// The Services of a changed slice that `manager` manages on either side.
pub(crate) fn owner(change: &Change<EndpointSlice>, manager: &str) -> Vec<Key> {
    let managed = change.sides().filter(|slice| slice.labels().get(MANAGED_BY).is_some_and(|by| by == manager));
    let services = managed.filter_map(|slice| slice.labels().get(SERVICE_NAME).cloned());
    services.map(|service| Key::new(change.key.namespace(), &service)).collect()
}

/// `None` when there is no node; a node without a zone is in the zone of no name.
fn zone(node: Option<&Node>) -> Option<&str> {
    node.map(|node| node.labels().get("topology.kubernetes.io/zone").map_or("", String::as_str))
}

/// The Services whose endpoints a changed pod may change.
pub(crate) fn affected(services: &Cache<Service>, change: &Change<Pod>) -> Vec<Key> {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && visible(old) == visible(new)
    {
        return Vec::new();
    }
    change.sides().flat_map(|pod| selecting(services, pod)).collect()
}

/// Everything about a pod that an endpoint may show.
fn visible(pod: &Pod) -> impl PartialEq + '_ {
    let spec = pod.spec.as_ref();
    (
        (&pod.metadata.uid, &pod.metadata.labels, pod.metadata.deletion_timestamp.is_some()),
        (pods::is_ready(pod), pods::is_terminal(pod), pods::node(pod)),
        pod.status.as_ref().map(|status| (&status.pod_ip, &status.pod_ips)),
        spec.map(|spec| (&spec.hostname, &spec.subdomain)),
    )
}

fn selecting(services: &Cache<Service>, pod: &Pod) -> Vec<Key> {
    let in_namespace = services.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let selects = |service: &&Arc<Service>| selector(service).is_some_and(|selects| selects(pod));
    in_namespace.iter().filter(selects).map(|service| Key::of(service.as_ref())).collect()
}

/// Whether a Service selects a pod; `None` where endpoints are somebody else's business.
pub(crate) fn selector(service: &Service) -> Option<impl Fn(&Pod) -> bool + '_> {
    let spec = service.spec.as_ref()?;
    let wanted = spec.selector.as_ref().filter(|_| spec.type_.as_deref() != Some("ExternalName"))?;
    Some(move |pod: &Pod| {
        let has = |key, value| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value);
        wanted.iter().all(|(key, value)| has(key, value))
    })
}

/// Whether a Service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

struct Context {
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    client: Client,
    recorder: Recorder,
}

impl Context {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(service) = self.services.at(&key) else { return Ok(Action::Done) };
        let Some(selects) = selector(&service).filter(|_| service.metadata.deletion_timestamp.is_none()) else {
            return Ok(Action::Done);
        };
        let pods: Vec<_> = self.pods.in_namespace(key.namespace()).into_iter().filter(|pod| selects(pod)).collect();
        let existing: Vec<_> =
            self.by_service.get(&key.to_string()).into_iter().filter(|slice| is_ours(slice)).collect();
        let wanted = endpoint::address_types(&service);
        let mut plan = Plan::default();
        for address_type in &wanted {
            let groups = endpoint::groups(&service, address_type, &pods, |node| self.nodes.get("", node));
            let own = existing.iter().filter(|slice| slice.address_type == *address_type).cloned().collect();
            let one = plan::plan(&Frame { empty: frame(&service, address_type), capacity: CAPACITY }, groups, own);
            plan.create.extend(one.create);
            plan.update.extend(one.update);
            plan.delete.extend(one.delete);
        }
        let strange = existing.into_iter().filter(|slice| !wanted.contains(&slice.address_type.as_str()));
        plan.delete.extend(strange);
        if let Err(error) = apply(&self.client, key.namespace(), &self.slices, plan).await {
            let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
            self.recorder.event(service.as_ref(), Type::Warning, "FailedToUpdateEndpointSlices", message);
            return Err(error);
        }
        Ok(Action::Done)
    }
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.deletion_timestamp.is_none() && slice.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGER)
}

/// An empty slice of the Service: its own labels, those that name it, and an owner reference.
fn frame(service: &Service, address_type: &str) -> EndpointSlice {
    let mut labels: BTreeMap<_, _> = service.labels().clone();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.into(), service.name_any());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    let mut slice = EndpointSlice { address_type: address_type.into(), ports: Some(Vec::new()), ..Default::default() };
    slice.metadata.generate_name = Some(format!("{}-", service.name_any()));
    slice.metadata.namespace = service.namespace();
    slice.metadata.labels = Some(labels);
    slice.metadata.owner_references = Some(vec![reference(service)]);
    slice
}

/// Carries a plan out and waits until the cache shows it.
pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    slices: &Cache<EndpointSlice>,
    plan: Plan,
) -> Result<(), Error> {
    let api = &Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let mut newest = 0;
    for slice in &plan.create {
        match api.create(&PostParams::default(), slice).await {
            Ok(created) => newest = newest.max(created.revision()),
            Err(error) if namespace_terminating(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let updated = plan.update.iter().map(|slice| async move {
        let name = slice.name_any();
        api.replace(&name, &PostParams::default(), slice).await
    });
    for updated in join_all(updated).await {
        newest = newest.max(updated?.revision());
    }
    for slice in &plan.delete {
        gone_is_fine(api.delete(&slice.name_any(), &DeleteParams::default()).await)?;
        let uid = slice.uid();
        slices.until(&Key::of(slice.as_ref()), |slice| slice.is_none_or(|slice| slice.metadata.uid != uid)).await?;
    }
    Ok(slices.seen(&newest.to_string()).await?)
}

#[cfg(test)]
mod tests;
