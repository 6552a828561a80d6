//! What a client is told about its pod, text by text.

use serde_json::{Value, json};

use super::*;
use crate::strategy::{Context, Strategy};
use crate::user::UserInfo;

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { unreachable!() };
    object
}

/// A good pod with some fields set by JSON pointer; `null` removes.
fn pod(changes: Value) -> Object {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"serviceAccountName": "default", "containers": [{"name": "c", "image": "nginx:1"}]},
    });
    for (pointer, value) in object(changes) {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = pod.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
            _ => parent[field] = value,
        }
    }
    let mut pod = object(pod);
    POD.default(&mut pod);
    pod
}

fn with(subresource: Option<&str>, check: impl FnOnce(&Context<'_>) -> Errors) -> String {
    let user = UserInfo::default();
    let errors = check(&Context { user: &user, subresource, now: "2026-01-01T00:00:00Z" });
    if errors.is_empty() { String::new() } else { errors.to_string() }
}

fn created(changes: Value) -> String {
    with(None, |cx| POD.validate(cx, &pod(changes)))
}

#[test]
fn good_pods_pass() {
    for changes in [
        json!({}),
        json!({"/spec/volumes": [{"name": "v", "configMap": {"name": "x", "items": [{"key": "a", "path": "b/c"}]}}],
               "/spec/containers/0/volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        json!({"/spec/containers/0/env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}]}),
        json!({"/spec/initContainers": [{"name": "i", "image": "a", "restartPolicy": "Always",
               "startupProbe": {"exec": {"command": ["true"]}}}]}),
        json!({"/spec/containers/0/livenessProbe": {"httpGet": {"port": "http"}},
               "/spec/containers/0/lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}),
        json!({"/spec/tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 3}]}),
    ] {
        assert_eq!(created(changes.clone()), "", "{changes}");
    }
}

#[test]
fn texts_are_upstreams() {
    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    for (changes, text) in [
        (json!({"/spec/containers": []}), "spec.containers: Required value".to_owned()),
        (json!({"/spec/containers/0/image": ""}), "spec.containers[0].image: Required value".into()),
        (
            json!({"/spec/containers/0/name": "A"}),
            format!("spec.containers[0].name: Invalid value: \"A\": {LABEL}"),
        ),
        (
            json!({"/spec/containers/0/ports": [{"containerPort": 70000}]}),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive".into(),
        ),
        (
            json!({"/spec/containers/0/volumeMounts": [{"name": "x", "mountPath": "/x"}]}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"x\"".into(),
        ),
        (
            json!({"/spec/restartPolicy": "Sometimes"}),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\""
                .into(),
        ),
        (
            json!({"/spec/containers/0/resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1".into(),
        ),
        (
            json!({"/spec/containers/0/resources": {"limits": {"gpu": "1"}}}),
            "[spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified, \
             spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for containers, \
             spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified, \
             spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers]"
                .into(),
        ),
        (
            json!({"/spec/containers/0/livenessProbe": {}}),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type".into(),
        ),
        (
            json!({"/spec/initContainers": [{"name": "i", "image": "a", "livenessProbe": {"exec": {"command": ["x"]}}}]}),
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"
                .into(),
        ),
        (
            json!({"/spec/hostNetwork": true, "/spec/containers/0/ports": [{"containerPort": 80, "hostPort": 81}]}),
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
                .into(),
        ),
        (
            json!({"/spec/containers/0/securityContext": {"runAsUser": -1}}),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive".into(),
        ),
        (
            json!({"/spec/securityContext": {"sysctls": [{"name": "foo-"}]}}),
            "spec.securityContext.sysctls[0].name: Invalid value: \"foo-\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$".into(),
        ),
        (
            json!({"/spec/tolerations": [{"value": "x"}]}),
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"".into(),
        ),
        (
            json!({"/spec/volumes": [{"name": "v", "secret": {}}]}),
            "spec.volumes[0].secret.secretName: Required value".into(),
        ),
        (
            json!({"/spec/volumes": [{"name": "v"}, {"name": "v"}]}),
            "spec.volumes[1].name: Duplicate value: \"v\"".into(),
        ),
        (json!({"/spec/dnsPolicy": "None"}), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None".into()),
        (
            json!({"/spec/ephemeralContainers": [{"name": "d", "image": "a"}]}),
            "spec.ephemeralContainers: Forbidden: cannot be set on create".into(),
        ),
        (
            json!({"/spec/affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}),
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty".into(),
        ),
    ] {
        assert_eq!(created(changes.clone()), text, "{changes}");
    }
}

#[test]
fn little_of_a_pod_changes() {
    for (before, after, text) in [
        (json!({}), json!({"/spec/containers/0/image": "nginx:2"}), ""),
        (json!({}), json!({"/spec/tolerations": [{"operator": "Exists"}]}), ""),
        (json!({"/spec/activeDeadlineSeconds": 9}), json!({"/spec/activeDeadlineSeconds": 5}), ""),
        (
            json!({"/spec/activeDeadlineSeconds": 5}),
            json!({"/spec/activeDeadlineSeconds": 9}),
            "spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value",
        ),
        (
            json!({"/spec/tolerations": [{"operator": "Exists"}]}),
            json!({}),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (
            json!({}),
            json!({"/spec/containers": [{"name": "c", "image": "nginx:1"}, {"name": "d", "image": "a"}]}),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            json!({}),
            json!({"/spec/hostname": "h"}),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n@@ -",
        ),
        (json!({"/spec/schedulingGates": [{"name": "g"}]}), json!({"/spec/nodeSelector": {"a": "b"}}), ""),
    ] {
        let said = with(None, |cx| POD.validate_update(cx, &pod(after.clone()), &pod(before.clone())));
        assert!(said.starts_with(text) && said.is_empty() == text.is_empty(), "{before} {after}: {said}");
    }
}

#[test]
fn a_kubelet_does_not_revive_the_dead() {
    let status = |state: Value, policy: &str| {
        let mut pod = pod(json!({"/spec/restartPolicy": policy}));
        pod.insert("status".into(), json!({"containerStatuses": [{"name": "c", "state": state}]}));
        pod
    };
    let ended = json!({"terminated": {"exitCode": 0}});
    for (policy, text) in [
        ("Always", ""),
        ("OnFailure", "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"),
    ] {
        let (new, old) = (status(json!({"running": {}}), policy), status(ended.clone(), policy));
        assert_eq!(with(Some("status"), |cx| POD.validate_update(cx, &new, &old)), text, "{policy}");
    }
}

#[test]
fn resize_changes_cpu_and_memory_only() {
    let sized = |cpu: &str, image: &str| {
        let resources = json!({"limits": {"cpu": cpu}, "requests": {"cpu": cpu}});
        let mut pod = pod(json!({"/spec/containers/0/resources": resources, "/spec/containers/0/image": image}));
        pod.insert("status".into(), json!({"qosClass": "Burstable"}));
        pod
    };
    for (new, text) in [
        (sized("2", "nginx:1"), ""),
        (sized("2", "nginx:2"), "spec: Forbidden: only cpu and memory resources are mutable"),
    ] {
        let old = sized("1", "nginx:1");
        assert_eq!(with(Some("resize"), |cx| POD.validate_update(cx, &new, &old)), text);
    }
}

#[test]
fn new_pods_start_pending() {
    let user = UserInfo::default();
    let mut pod = pod(json!({"/spec/schedulingGates": [{"name": "g"}]}));
    POD.prepare_for_create(&Context { user: &user, subresource: None, now: "" }, &mut pod);
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
}

#[test]
fn grace_is_for_pods_that_run() {
    for (spec, status, requested, seconds) in [
        (json!({"nodeName": "n", "terminationGracePeriodSeconds": 30}), json!({"phase": "Running"}), None, 30),
        (json!({"nodeName": "n", "terminationGracePeriodSeconds": 30}), json!({"phase": "Running"}), Some(5), 5),
        (json!({"nodeName": "n", "terminationGracePeriodSeconds": -4}), json!({"phase": "Running"}), None, 1),
        (json!({"terminationGracePeriodSeconds": 30}), json!({"phase": "Pending"}), None, 0),
        (json!({"nodeName": "n", "terminationGracePeriodSeconds": 30}), json!({"phase": "Succeeded"}), None, 0),
    ] {
        let pod = object(json!({"spec": spec, "status": status}));
        assert_eq!(POD.grace_period(&pod, requested), Some(seconds), "{pod:?}");
    }
}

#[test]
fn surprises_are_warned_of() {
    for (changes, warning) in [
        (json!({}), ""),
        (
            json!({"/metadata/name": "a.b"}),
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
        ),
        (
            json!({"/spec/nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        ),
        (
            json!({"/spec/containers/0/env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ),
        (
            json!({"/spec/containers/0/ports": [{"containerPort": 1}, {"containerPort": 1}]}),
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ),
    ] {
        assert_eq!(POD.warnings(&pod(changes), None).join("\n"), warning);
    }
}

#[test]
fn debugging_adds_containers_and_nothing_else() {
    let user = UserInfo::default();
    let cx = Context { user: &user, subresource: Some("ephemeralcontainers"), now: "" };
    let old = pod(json!({}));
    let debug = |image: &str| json!([{"name": "d", "image": image, "targetContainerName": "c"}]);
    let mut new =
        pod(json!({"/spec/ephemeralContainers": debug("a"), "/spec/hostname": "h", "/metadata/labels": {"a": "b"}}));
    POD.prepare_for_update(&cx, &mut new, &old);
    assert_eq!(new["spec"].get("hostname"), None);
    assert_eq!(new["metadata"].get("labels"), None);
    assert!(POD.validate_update(&cx, &new, &old).is_empty());
    let changed = pod(json!({"/spec/ephemeralContainers": debug("b")}));
    let said = POD.validate_update(&cx, &changed, &new).to_string();
    let text = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n@@ -";
    assert!(said.starts_with(text), "{said}");
}
