//! EndpointSlices for Endpoints that somebody wrote by hand, for Services without a selector
//! (<https://kubernetes.io/docs/concepts/services-networking/service/#endpoints>).

use std::collections::BTreeMap;
use std::convert::Infallible;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use knarr_base::Shutdown;
use knarr_client::{Action, Cache, Controller, Index, Key};
use kube::{Client, ResourceExt};

use crate::deps::Deps;
use crate::endpointslice::endpoint::{Groups, port_key};
use crate::endpointslice::plan::{self, Frame, Plan};
use crate::endpointslice::{MANAGED_BY, SERVICE_NAME, apply, by_service, owner};
use crate::error::Error;
use crate::owners::reference;

const NAME: &str = "endpointslicemirroring-controller";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const WORKERS: usize = 5;

/// Set by who keeps slices of their own, as the API server does for `kubernetes`.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// `--mirroring-max-endpoints-per-subset`, which is also the capacity of a slice here.
const CAPACITY: usize = 1000;

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Infallible> {
    let (services, endpoints) = (deps.cache::<Service>(), deps.cache::<Endpoints>());
    let slices = deps.cache::<EndpointSlice>();
    let mut controller = Controller::new(NAME);
    controller.watch(&services, |change| vec![change.key.clone()]);
    controller.watch(&endpoints, |change| vec![change.key.clone()]);
    controller.watch(&slices, |change| owner(change, MANAGER));
    let context = Context { by_service: by_service(&slices), client: deps.client(NAME), services, endpoints, slices };
    controller.run(WORKERS, shutdown, |key| context.reconcile(key)).await
}

struct Context {
    services: Cache<Service>,
    endpoints: Cache<Endpoints>,
    slices: Cache<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    client: Client,
}

impl Context {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let ours = |slice: &EndpointSlice| {
            slice.metadata.deletion_timestamp.is_none()
                && slice.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGER)
        };
        let existing: Vec<_> = self.by_service.get(&key.to_string()).into_iter().filter(|slice| ours(slice)).collect();
        let (service, endpoints) = (self.services.at(&key), self.endpoints.at(&key));
        let mirrored = match (&service, &endpoints) {
            (Some(service), Some(endpoints)) if is_mirrored(service, endpoints) => endpoints,
            _ => {
                let plan = Plan { delete: existing, ..Plan::default() };
                return apply(&self.client, key.namespace(), &self.slices, plan).await.map(|()| Action::Done);
            }
        };
        let mut plan = Plan::default();
        for family in ["IPv4", "IPv6"] {
            let own: Vec<_> = existing.iter().filter(|slice| slice.address_type == family).cloned().collect();
            let groups = groups(mirrored, family);
            if groups.is_empty() {
                plan.delete.extend(own);
                continue;
            }
            let one = plan::plan(&Frame { empty: frame(mirrored, family), capacity: CAPACITY }, groups, own);
            plan.create.extend(one.create);
            plan.update.extend(one.update);
            plan.delete.extend(one.delete);
        }
        apply(&self.client, key.namespace(), &self.slices, plan).await.map(|()| Action::Done)
    }
}

fn is_mirrored(service: &Service, endpoints: &Endpoints) -> bool {
    let selects = service.spec.as_ref().is_some_and(|spec| spec.selector.as_ref().is_some_and(|s| !s.is_empty()));
    let skipped = endpoints.labels().get(SKIP).is_some_and(|skip| skip == "true");
    !selects
        && !skipped
        && !endpoints.annotations().contains_key(LEADER)
        && endpoints.metadata.deletion_timestamp.is_none()
}

fn groups(endpoints: &Endpoints, family: &str) -> Groups {
    let mut groups: Groups = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<_> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let of_family = |(address, _): &(&EndpointAddress, bool)| address.ip.contains(':') == (family == "IPv6");
        let mut own = ready.chain(waiting).filter(of_family).take(CAPACITY).peekable();
        if own.peek().is_some() {
            let (_, list) = groups.entry(port_key(&ports)).or_insert_with(|| (ports, Vec::new()));
            list.extend(own.map(|(address, ready)| endpoint(address, ready)));
        }
    }
    groups
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        app_protocol: port.app_protocol.clone(),
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn frame(endpoints: &Endpoints, family: &str) -> EndpointSlice {
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.into(), endpoints.name_any());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut slice = EndpointSlice { address_type: family.into(), ports: Some(Vec::new()), ..Default::default() };
    slice.metadata.generate_name = Some(format!("{}-", endpoints.name_any()));
    slice.metadata.namespace = endpoints.namespace();
    slice.metadata.labels = Some(labels);
    slice.metadata.owner_references = Some(vec![reference(endpoints)]);
    slice
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(extra: serde_json::Value) -> Endpoints {
        let mut value = json!({
            "metadata": {"name": "db", "namespace": "shop"},
            "subsets": [{
                "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2"}],
                "ports": [{"port": 5432}],
            }],
        });
        value["metadata"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn families_are_mirrored_apart() {
        let endpoints = endpoints(json!({}));
        let addresses = |family| {
            let groups = groups(&endpoints, family);
            let all = groups.into_values().flat_map(|(_, list)| list);
            all.map(|one| (one.addresses[0].clone(), one.conditions.unwrap().ready.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(addresses("IPv4"), [("192.0.2.1".to_owned(), true), ("192.0.2.2".to_owned(), false)]);
        assert_eq!(addresses("IPv6"), [("2001:db8::1".to_owned(), true)]);
    }

    #[test]
    fn only_what_nobody_else_keeps_is_mirrored() {
        let service = |spec| serde_json::from_value::<Service>(json!({"spec": spec})).unwrap();
        let cases = [
            (service(json!({})), json!({}), true),
            (service(json!({"selector": {"app": "db"}})), json!({}), false),
            (service(json!({})), json!({"labels": {SKIP: "true"}}), false),
            (service(json!({})), json!({"annotations": {LEADER: "x"}}), false),
        ];
        for (service, meta, expected) in cases {
            assert_eq!(is_mirrored(&service, &endpoints(meta.clone())), expected, "{meta}");
        }
    }
}
