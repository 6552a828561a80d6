use serde_json::json;

use super::*;
use crate::admission::fixture::object;

fn range(limit: Value) -> Object {
    object(json!({"spec": {"limits": [limit]}}))
}

fn pod(resources: Value) -> Object {
    object(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}}))
}

#[test]
fn what_containers_do_not_name_is_filled_in() {
    let range = range(json!({
        "type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m", "memory": "10Mi"},
    }));
    let mut pod = pod(json!({"requests": {"cpu": "5m"}}));
    fill(&mut pod, &range);
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "5m", "memory": "10Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}})
    );
    assert_eq!(
        pod["metadata"]["annotations"][ANNOTATION],
        "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c"
    );
    let filled = pod.clone();
    fill(&mut pod, &range);
    assert_eq!(pod, filled);
}

#[test]
fn demands_read_as_upstreams() {
    let min = || range(json!({"type": "Container", "min": {"cpu": "100m"}}));
    let max = || range(json!({"type": "Container", "max": {"memory": "1Gi"}}));
    let ratio = || range(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}));
    let cpu = |request: &str, limit: &str| pod(json!({"requests": {"cpu": request}, "limits": {"cpu": limit}}));
    let memory = |limit: &str| pod(json!({"limits": {"memory": limit}}));
    let table = [
        (min(), cpu("100m", "1"), ""),
        (min(), pod(json!({})), "minimum cpu usage per Container is 100m.  No request is specified"),
        (min(), cpu("50m", "1"), "minimum cpu usage per Container is 100m, but request is 50m"),
        (max(), memory("1024Mi"), ""),
        (max(), pod(json!({})), "maximum memory usage per Container is 1Gi.  No limit is specified"),
        (max(), memory("2Gi"), "maximum memory usage per Container is 1Gi, but limit is 2Gi"),
        (ratio(), cpu("1", "2"), ""),
        (ratio(), cpu("1", "3"), "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
        (
            ratio(),
            memory("1"),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
    ];
    for (range, pod, expected) in table {
        assert_eq!(check_pod(&pod, &range).join("; "), expected, "{pod:?}");
    }
    let claim = |size: &str| object(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
    let range = range(json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}));
    assert_eq!(check_claim(&claim("1Gi"), &range), Vec::<String>::new());
    let expected = "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi";
    assert_eq!(check_claim(&claim("3Gi"), &range), [expected]);
}

#[test]
fn a_pod_counts_with_its_largest_moment() {
    let container =
        |cpu: &str, policy: Option<&str>| json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy});
    let table = [
        (json!([]), json!([container("1", None), container("2", None)]), "3"),
        (json!([container("5", None)]), json!([container("1", None)]), "5"),
        (json!([container("1", Some("Always")), container("5", None)]), json!([container("1", None)]), "6"),
        (json!([container("5", None), container("1", Some("Always"))]), json!([container("5", None)]), "6"),
    ];
    for (init, containers, expected) in table {
        let pod = object(json!({"spec": {"initContainers": init, "containers": containers}}));
        assert_eq!(total(&pod, "requests")["cpu"].to_string(), expected);
    }
    let whole =
        object(json!({"spec": {"containers": [container("1", None)], "resources": {"requests": {"cpu": "9"}}}}));
    assert_eq!(total(&whole, "requests")["cpu"].to_string(), "9");
}
