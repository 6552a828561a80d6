//! What people see.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn shown(group: &str, kind: &str, object: Value) -> Vec<String> {
    let Value::Object(mut object) = object else { unreachable!() };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    metadata["name"] = "x".into();
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let now = NOW.parse().unwrap();
    of(group, kind).iter().map(|column| plain(column.cell(&object, now))).collect()
}

/// NAME READY STATUS RESTARTS of a pod of one init container, if `init` is not null, and one container.
fn pod(init: Value, main: Value, more: Value) -> String {
    let mut object = json!({
        "spec": {"containers": [{"name": "c"}], "initContainers": []},
        "status": {"phase": "Running", "containerStatuses": [main], "initContainerStatuses": []},
    });
    if !init.is_null() {
        object["spec"]["initContainers"] = json!([{"name": "i", "restartPolicy": init["policy"]}]);
        object["status"]["initContainerStatuses"] = json!([init]);
    }
    for (path, value) in more.as_object().unwrap() {
        *object.pointer_mut(path).unwrap() = value.clone();
    }
    if let Some(time) = more.get("/metadata") {
        object["metadata"] = time.clone();
    }
    shown("", "Pod", object)[1..4].join(" ")
}

#[test]
fn pods_sum_up_their_containers() {
    let running = json!({"ready": true, "state": {"running": {}}});
    let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
    let ended = |reason: &str, code: i64| json!({"state": {"terminated": {"reason": reason, "exitCode": code}}});
    let none = json!({});
    for (init, main, more, line) in [
        (Value::Null, running.clone(), none.clone(), "1/1 Running 0"),
        (Value::Null, json!({"state": {"running": {}}}), none.clone(), "0/1 Running 0"),
        (Value::Null, waiting("ContainerCreating"), json!({"/status/phase": "Pending"}), "0/1 ContainerCreating 0"),
        (
            Value::Null,
            json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                   "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:57Z"}}}),
            none.clone(),
            "0/1 CrashLoopBackOff 3 (3s ago)",
        ),
        (Value::Null, ended("Completed", 0), json!({"/status/phase": "Succeeded"}), "0/1 Completed 0"),
        (Value::Null, ended("Error", 1), json!({"/status/phase": "Failed"}), "0/1 Error 0"),
        (Value::Null, ended("", 137), json!({"/status/phase": "Failed"}), "0/1 ExitCode:137 0"),
        (json!({"name": "i", "state": {"running": {}}}), waiting("PodInitializing"), none.clone(), "0/1 Init:0/1 0"),
        (
            json!({"name": "i", "restartCount": 2, "state": {"terminated": {"reason": "Error", "exitCode": 1}}}),
            waiting("PodInitializing"),
            none.clone(),
            "0/1 Init:Error 2",
        ),
        (
            json!({"name": "i", "state": {"terminated": {"exitCode": 0}}}),
            running.clone(),
            none.clone(),
            "1/1 Running 0",
        ),
        (
            json!({"name": "i", "policy": "Always", "started": true, "ready": true, "state": {"running": {}}}),
            running.clone(),
            none.clone(),
            "2/2 Running 0",
        ),
    ] {
        assert_eq!(pod(init.clone(), main.clone(), more), line, "{init} {main}");
    }
    let leaving = json!({"metadata": {"deletionTimestamp": NOW}, "status": {"phase": "Running"}});
    assert_eq!(shown("", "Pod", leaving)[2], "Terminating");
}

#[test]
fn services_show_where_they_are_reached() {
    for (spec, status, line) in [
        (json!({"type": "ClusterIP", "clusterIPs": ["None"]}), json!({}), "ClusterIP None <none> <none> 60m <none>"),
        (
            json!({"type": "LoadBalancer", "clusterIPs": ["10.43.0.9"], "selector": {"app": "web"},
                   "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
            json!({}),
            "LoadBalancer 10.43.0.9 <pending> 80:30080/TCP,53/UDP 60m app=web",
        ),
        (
            json!({"type": "LoadBalancer", "clusterIPs": ["10.43.0.9"], "externalIPs": ["1.2.3.4"]}),
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}),
            "LoadBalancer 10.43.0.9 192.0.2.7,1.2.3.4 <none> 60m <none>",
        ),
        (
            json!({"type": "ExternalName", "externalName": "a.b"}),
            json!({}),
            "ExternalName <none> a.b <none> 60m <none>",
        ),
    ] {
        assert_eq!(shown("", "Service", json!({"spec": spec, "status": status}))[1..].join(" "), line);
    }
}

#[test]
fn other_kinds_show_what_upstream_shows() {
    for (group, kind, object, line) in [
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                            "template": {"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}},
                   "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}}),
            "x 2/3 3 2 60m c nginx:1 app=web",
        ),
        (
            "",
            "Node",
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}},
                   "spec": {"unschedulable": true},
                   "status": {"conditions": [{"type": "Ready", "status": "True"}],
                              "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                              "nodeInfo": {"kubeletVersion": "v1.35.4", "osImage": "Debian"}}}),
            "x Ready,SchedulingDisabled control-plane 60m v1.35.4 192.0.2.1 <none> Debian <unknown> <unknown>",
        ),
        (
            "",
            "Event",
            json!({"lastTimestamp": "2026-01-01T00:59:50Z", "type": "Normal", "reason": "Pulled", "count": 2,
                   "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
                   "message": "done \n"}),
            "10s Normal Pulled pod/p  kubelet, n done <unknown> 2 x",
        ),
        ("", "ConfigMap", json!({"data": {"a": "1"}, "binaryData": {"b": ""}}), "x 2 60m"),
        (
            "",
            "Endpoints",
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 1}, {"port": 2}]}]}),
            "x 10.0.0.1:1,[fd00::1]:1,10.0.0.1:2 + 1 more... 60m",
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
            "x IPv4 80 10.0.0.1 60m",
        ),
        (
            "batch",
            "Job",
            json!({"spec": {"completions": 1}, "status": {"succeeded": 1, "startTime": "2026-01-01T00:00:00Z",
                   "completionTime": "2026-01-01T00:00:05Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
            "x Complete 1/1 5s 60m   <none>",
        ),
        (
            "metallb.io",
            "IPAddressPool",
            json!({"spec": {"autoAssign": true, "avoidBuggyIPs": false, "addresses": ["192.0.2.10-192.0.2.20"]}}),
            r#"x true false ["192.0.2.10-192.0.2.20"]"#,
        ),
        (
            "storage.k8s.io",
            "StorageClass",
            json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"}),
            "x (default) p Delete Immediate false 60m",
        ),
        (
            "",
            "ResourceQuota",
            json!({"status": {"hard": {"pods": "3", "limits.cpu": "2"}, "used": {"pods": "1"}}}),
            "x pods: 1/3 limits.cpu: 0/2 60m",
        ),
        ("rbac.authorization.k8s.io", "ClusterRole", json!({}), "x 2026-01-01T00:00:00Z"),
    ] {
        assert_eq!(shown(group, kind, object).join(" "), line, "{kind}");
    }
}

#[test]
fn wide_columns_have_a_priority() {
    let definitions: Vec<_> = of("", "Pod").iter().map(Column::definition).collect();
    assert_eq!(definitions[0].format, "name");
    let wide: Vec<_> = definitions.iter().filter(|column| column.priority > 0).map(|column| column.name).collect();
    assert_eq!(wide, ["IP", "Node", "Nominated Node", "Readiness Gates"]);
}
