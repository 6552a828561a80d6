//! All controllers together, against the real API server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]

mod world;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use world::World;

fn deployment(name: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                // No scheduler runs here.
                "spec": {"nodeName": "n1", "containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

fn available(deployment: Option<&Deployment>, replicas: i32) -> bool {
    let Some(Deployment { status: Some(status), metadata, .. }) = deployment else { return false };
    status.observed_generation == metadata.generation
        && (status.updated_replicas, status.available_replicas, status.replicas)
            == (Some(replicas), Some(replicas), Some(replicas))
}

fn sizes(sets: &[Arc<ReplicaSet>]) -> Vec<i32> {
    let mut sizes: Vec<_> = sets.iter().map(|set| set.spec.as_ref().unwrap().replicas.unwrap()).collect();
    sizes.sort_unstable();
    sizes
}

#[tokio::test]
async fn namespaces_and_nodes_start_with_what_they_need() {
    let world = World::new().await;
    world.make::<Namespace>("", json!({"metadata": {"name": "shop"}})).await;
    world.until::<ServiceAccount>("shop", "default", |account| account.is_some()).await;
    let published = |map: Option<&ConfigMap>| map.is_some_and(|map| map.data.as_ref().unwrap()["ca.crt"] == "PEM");
    world.until::<ConfigMap>("shop", "kube-root-ca.crt", published).await;
    world.change::<ConfigMap>("shop", "kube-root-ca.crt", json!({"data": {"ca.crt": "evil"}})).await;
    world.until::<ConfigMap>("shop", "kube-root-ca.crt", published).await;
    let cidr = |node: Option<&Node>| node.and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
    world.until::<Node>("", "n1", |node| cidr(node).as_deref() == Some("10.42.0.0/24")).await;
    world.make::<Node>("", json!({"metadata": {"name": "n2"}})).await;
    world.until::<Node>("", "n2", |node| cidr(node).as_deref() == Some("10.42.1.0/24")).await;
    world.end().await;
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_goes_back_and_is_published() {
    let world = World::new().await;
    world.make::<Deployment>("default", deployment("web", 3)).await;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    world.make::<Service>("default", service).await;
    world.until::<Deployment>("default", "web", |d| available(d, 3)).await;
    let ready = |slices: &[Arc<EndpointSlice>]| {
        let endpoints = slices.iter().filter(|s| s.name_any().starts_with("web-")).flat_map(|slice| &slice.endpoints);
        endpoints.filter(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true)).count()
    };
    world.until_all::<EndpointSlice>("default", |slices| ready(slices) == 3).await;
    let addresses = |endpoints: Option<&Endpoints>| {
        let subsets = endpoints.and_then(|endpoints| endpoints.subsets.clone()).unwrap_or_default();
        subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).count()
    };
    world.until::<Endpoints>("default", "web", |endpoints| addresses(endpoints) == 3).await;

    let image =
        |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    world.change::<Deployment>("default", "web", image("web:2")).await;
    let revision =
        |d: Option<&Deployment>| d.and_then(|d| d.annotations().get("deployment.kubernetes.io/revision").cloned());
    world.until::<Deployment>("default", "web", |d| available(d, 3) && revision(d).as_deref() == Some("2")).await;
    world.until_all::<ReplicaSet>("default", |sets| sizes(sets) == [0, 3]).await;

    world.change::<Deployment>("default", "web", json!({"spec": {"replicas": 5}})).await;
    world.until::<Deployment>("default", "web", |d| available(d, 5)).await;
    world.until_all::<EndpointSlice>("default", |slices| ready(slices) == 5).await;

    world.change::<Deployment>("default", "web", image("web:1")).await;
    world.until::<Deployment>("default", "web", |d| available(d, 5) && revision(d).as_deref() == Some("3")).await;
    world.until_all::<ReplicaSet>("default", |sets| sizes(sets) == [0, 5]).await;

    world
        .change::<Deployment>(
            "default",
            "web",
            json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        )
        .await;
    world.change::<Deployment>("default", "web", image("web:3")).await;
    world.until::<Deployment>("default", "web", |d| available(d, 5) && revision(d).as_deref() == Some("4")).await;

    // What Go omits is no change of the template (charts are full of it), so nothing is rolled out.
    let nothing = json!({"metadata": {"annotations": {}}, "spec": {"nodeSelector": {}, "hostNetwork": false}});
    world.change::<Deployment>("default", "web", json!({"spec": {"template": nothing}})).await;
    world.change::<Deployment>("default", "web", json!({"spec": {"replicas": 4}})).await;
    world.until::<Deployment>("default", "web", |d| available(d, 4) && revision(d).as_deref() == Some("4")).await;

    let scaled = |event: &Arc<Event>| event.reason.as_deref() == Some("ScalingReplicaSet");
    world.until_all::<Event>("default", |events| events.iter().any(scaled)).await;
    world.end().await;
}

#[tokio::test]
async fn deletions_reach_what_is_owned_as_they_are_asked_to() {
    let world = World::new().await;
    for name in ["background", "foreground", "orphan"] {
        world.make::<Deployment>("default", deployment(name, 2)).await;
        world.until::<Deployment>("default", name, |d| available(d, 2)).await;
    }
    let of = |pods: &[Arc<Pod>], name: &str| pods.iter().filter(|pod| pod.labels()["app"] == name).count();
    let sets_of = |sets: &[Arc<ReplicaSet>], name: &str| sets.iter().filter(|set| set.labels()["app"] == name).count();

    world.delete::<Deployment>("default", "background", DeleteParams::background()).await;
    world.until::<Deployment>("default", "background", |d| d.is_none()).await;
    world.until_all::<Pod>("default", |pods| of(pods, "background") == 0).await;
    world.until_all::<ReplicaSet>("default", |sets| sets_of(sets, "background") == 0).await;

    world.delete::<Deployment>("default", "foreground", DeleteParams::foreground()).await;
    world.until::<Deployment>("default", "foreground", |d| d.is_none()).await;
    world.until_all::<Pod>("default", |pods| of(pods, "foreground") == 0).await;
    world.until_all::<ReplicaSet>("default", |sets| sets_of(sets, "foreground") == 0).await;

    world.delete::<Deployment>("default", "orphan", DeleteParams::orphan()).await;
    world.until::<Deployment>("default", "orphan", |d| d.is_none()).await;
    let free = |sets: &[Arc<ReplicaSet>]| {
        sets_of(sets, "orphan") == 1 && sets.iter().all(|set| set.owner_references().is_empty())
    };
    world.until_all::<ReplicaSet>("default", free).await;
    world.until_all::<Pod>("default", |pods| of(pods, "orphan") == 2).await;
    // A new Deployment of the same template adopts what was left.
    world.make::<Deployment>("default", deployment("orphan", 2)).await;
    world.until::<Deployment>("default", "orphan", |d| available(d, 2)).await;
    world.until_all::<ReplicaSet>("default", |sets| sets_of(sets, "orphan") == 1 && !free(sets)).await;
    world.end().await;
}

#[tokio::test]
async fn a_namespace_takes_everything_with_it() {
    let world = World::new().await;
    world.make::<Namespace>("", json!({"metadata": {"name": "shop"}})).await;
    world.until::<ServiceAccount>("shop", "default", |account| account.is_some()).await;
    world.make::<Deployment>("shop", deployment("web", 2)).await;
    world.until::<Deployment>("shop", "web", |d| available(d, 2)).await;
    world.make::<Secret>("shop", json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})).await;

    world.delete::<Namespace>("", "shop", DeleteParams::default()).await;
    world.until_all::<Pod>("shop", |pods| pods.is_empty()).await;
    let held = |namespace: Option<&Namespace>| {
        let conditions =
            namespace.and_then(|namespace| namespace.status.as_ref()?.conditions.clone()).unwrap_or_default();
        let message =
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
        conditions.iter().any(|condition| condition.message.as_deref() == Some(message))
    };
    world.until::<Namespace>("", "shop", held).await;
    world.change::<Secret>("shop", "held", json!({"metadata": {"finalizers": null}})).await;
    world.until::<Namespace>("", "shop", |namespace| namespace.is_none()).await;
    world.until_all::<ConfigMap>("shop", |maps| maps.is_empty()).await;
    world.end().await;
}
