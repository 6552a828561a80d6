//! Endpoints from pods.

use serde_json::json;

use super::*;
use crate::pods::tests::pod;

fn service(ports: serde_json::Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.43.0.9", "ipFamilies": ["IPv4"], "ports": ports},
    }))
    .unwrap()
}

fn pods() -> Vec<Arc<Pod>> {
    let with_ip = |name: &str, ip: &str, ready| {
        let mut pod = pod(name, "n", "Running", ready);
        pod.status.as_mut().unwrap().pod_ip = Some(ip.into());
        Arc::new(pod)
    };
    vec![with_ip("a", "10.42.0.1", Some(0)), with_ip("b", "10.42.0.2", None)]
}

#[test]
fn ready_and_waiting_pods_share_a_subset() {
    let service = service(
        json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]),
    );
    let made = plan(&service, &pods(), None).unwrap();
    let subsets = made.subsets.clone().unwrap();
    assert_eq!(subsets.len(), 1);
    let ips = |list: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
        list.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ips(&subsets[0].addresses), ["10.42.0.1"]);
    assert_eq!(ips(&subsets[0].not_ready_addresses), ["10.42.0.2"]);
    let ports: Vec<_> =
        subsets[0].ports.iter().flatten().map(|port| (port.name.as_deref().unwrap(), port.port)).collect();
    assert_eq!(ports, [("dns", 53), ("http", 8080)]);
    assert_eq!(made.labels()["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    assert_eq!(made.labels()["team"], "a");
    assert_eq!(plan(&service, &pods(), Some(&made)), None, "nothing to write when nothing has changed");
}

#[test]
fn a_service_without_pods_has_empty_endpoints() {
    let made = plan(&service(json!([{"port": 80}])), &[], None).unwrap();
    assert_eq!(made.subsets, None);
}

#[test]
fn too_many_addresses_are_cut_and_marked() {
    let many: Vec<_> = (0..1200)
        .map(|number| {
            let mut pod = pod(&number.to_string(), "n", "Running", (number >= 300).then_some(0));
            pod.status.as_mut().unwrap().pod_ip = Some(format!("10.42.{}.{}", number / 250, number % 250));
            Arc::new(pod)
        })
        .collect();
    let made = plan(&service(json!([{"port": 80}])), &many, None).unwrap();
    let subset = &made.subsets.as_ref().unwrap()[0];
    let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    assert_eq!((count(&subset.addresses), count(&subset.not_ready_addresses)), (900, 100));
    assert_eq!(made.annotations()[OVER_CAPACITY], "truncated");
}
