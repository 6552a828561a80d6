//! Defaults of pods and of pod templates: `pkg/apis/core/v1/defaults.go` and `zz_generated.defaults.go`.

use serde_json::Value;

use super::super::fill::Fill::{self, Absent, Each, In, Make, With, Zero};
use super::super::fill::Fixed::{Flag, Int, Map, Text};
use crate::Object;
use crate::object::object_in;
use crate::tree::{Tree, objects_mut};

const MODE: &[Fill] = &[Absent("defaultMode", Int(0o644))];
const FIELD_REF: &[Fill] = &[In(&["fieldRef"], &[Zero("apiVersion", Text("v1"))])];
const HTTP_GET: &[Fill] = &[In(&["httpGet"], &[Zero("path", Text("/")), Zero("scheme", Text("HTTP"))])];

const PROBE: &[Fill] = &[
    Zero("timeoutSeconds", Int(1)),
    Zero("periodSeconds", Int(10)),
    Zero("successThreshold", Int(1)),
    Zero("failureThreshold", Int(3)),
    In(&["httpGet"], &[Zero("path", Text("/")), Zero("scheme", Text("HTTP"))]),
    In(&["grpc"], &[Absent("service", Text(""))]),
];

/// Of every container, init container and ephemeral container.
const CONTAINER: &[Fill] = &[
    With(pull_policy),
    Zero("terminationMessagePath", Text("/dev/termination-log")),
    Zero("terminationMessagePolicy", Text("File")),
    Absent("resources", Map),
    Each(&["ports"], &[Zero("protocol", Text("TCP"))]),
    Each(&["env"], &[In(&["valueFrom"], FIELD_REF), In(&["valueFrom"], &[In(&["fileKeyRef"], OPTIONAL)])]),
    In(&["livenessProbe", "readinessProbe", "startupProbe"], PROBE),
    In(&["lifecycle"], &[In(&["postStart", "preStop"], HTTP_GET)]),
];
const OPTIONAL: &[Fill] = &[Absent("optional", Flag(false))];

const ISCSI: &[Fill] = &[Zero("iscsiInterface", Text("default"))];
const RBD: &[Fill] =
    &[Zero("pool", Text("rbd")), Zero("user", Text("admin")), Zero("keyring", Text("/etc/ceph/keyring"))];
const SCALE_IO: &[Fill] = &[Zero("storageMode", Text("ThinProvisioned")), Zero("fsType", Text("xfs"))];
const AZURE_DISK: &[Fill] = &[
    Absent("cachingMode", Text("ReadWrite")),
    Absent("fsType", Text("ext4")),
    Absent("readOnly", Flag(false)),
    Absent("kind", Text("Shared")),
];

/// Of the network volumes, which persistent volumes share.
pub(in super::super) const NETWORK_VOLUME: &[Fill] = &[
    In(&["iscsi"], ISCSI),
    In(&["rbd"], RBD),
    In(&["scaleIO"], SCALE_IO),
    In(&["azureDisk"], AZURE_DISK),
    In(&["hostPath"], &[Absent("type", Text(""))]),
];

const VOLUME: &[Fill] = &[
    With(volume_source),
    In(&["secret", "configMap", "projected", "downwardAPI"], MODE),
    In(&["downwardAPI"], &[Each(&["items"], FIELD_REF)]),
    In(
        &["projected"],
        &[Each(
            &["sources"],
            &[
                In(&["downwardAPI"], &[Each(&["items"], FIELD_REF)]),
                In(&["serviceAccountToken"], &[Absent("expirationSeconds", Int(3600))]),
            ],
        )],
    ),
    In(&["ephemeral"], &[In(&["volumeClaimTemplate"], &[Make("spec", &[Absent("volumeMode", Text("Filesystem"))])])]),
];

/// Of the `spec` of pods and of pod templates.
const SPEC: &[Fill] = &[
    Zero("dnsPolicy", Text("ClusterFirst")),
    Zero("restartPolicy", Text("Always")),
    Absent("securityContext", Map),
    Absent("terminationGracePeriodSeconds", Int(30)),
    Zero("schedulerName", Text("default-scheduler")),
    With(service_account),
    Each(&["volumes"], VOLUME),
    Each(&["volumes"], NETWORK_VOLUME),
    Each(&["containers", "initContainers", "ephemeralContainers"], CONTAINER),
];

/// Of a pod template, whose owner has it in a field `template`.
pub(in super::super) const TEMPLATE: &[Fill] = &[Make("metadata", &[]), Make("spec", SPEC)];

/// Of a pod.
pub(super) const POD: &[Fill] = &[
    Make("spec", SPEC),
    Make(
        "spec",
        &[
            Each(&["containers", "initContainers"], &[In(&["resources"], &[With(requests_from_limits)])]),
            Absent("enableServiceLinks", Flag(true)),
            With(host_ports),
        ],
    ),
];

/// The deprecated name of `serviceAccountName`: each is written with the value of the other.
pub(super) fn service_account(spec: &mut Object) {
    let name = match spec.text("serviceAccountName") {
        "" => spec.text("serviceAccount"),
        name => name,
    };
    if name.is_empty() {
        spec.remove("serviceAccountName");
        spec.remove("serviceAccount");
    } else {
        let name = Value::from(name);
        spec.insert("serviceAccountName".into(), name.clone());
        spec.insert("serviceAccount".into(), name);
    }
}

/// `Always` for images tagged `latest`, by name or by having neither tag nor digest.
fn pull_policy(container: &mut Object) {
    if container.text("imagePullPolicy").is_empty() {
        let policy = default_pull_policy(container.text("image"));
        container.insert("imagePullPolicy".into(), policy.into());
    }
}

fn default_pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':').map(|(_, tag)| tag) {
        Some("latest") => "Always",
        None if digest.is_none() => "Always",
        _ => "IfNotPresent",
    }
}

/// A volume without a source is an `emptyDir`.
fn volume_source(volume: &mut Object) {
    if !volume.iter().any(|(field, source)| field != "name" && !source.is_null()) {
        volume.insert("emptyDir".into(), Value::Object(Object::new()));
    }
    if let Some(Value::Object(image)) = volume.get_mut("image")
        && image.text("pullPolicy").is_empty()
    {
        let policy = default_pull_policy(image.text("reference"));
        image.insert("pullPolicy".into(), policy.into());
    }
}

/// What is limited and not requested is requested up to the limit. Only in pods: a template keeps what its author wrote.
fn requests_from_limits(resources: &mut Object) {
    let Some(Value::Object(limits)) = resources.get("limits") else { return };
    let limits = limits.clone();
    let requests = object_in(resources.entry("requests").or_insert(Value::Null));
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// On the host's network a container port is a port of the host.
fn host_ports(spec: &mut Object) {
    if !spec.is_true("hostNetwork") {
        return;
    }
    for list in ["containers", "initContainers"] {
        for container in objects_mut(spec, list) {
            for port in objects_mut(container, "ports") {
                if let (0, Some(own)) = (port.number("hostPort"), port.int("containerPort")) {
                    port.insert("hostPort".into(), own.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fill::fill;
    use super::*;
    use serde_json::json;

    fn filled(spec: Value) -> Value {
        let ty = crate::schema::root("io.k8s.api.core.v1.Pod").unwrap();
        let mut pod = crate::schema::decode::from_value(json!({ "spec": spec }), ty).unwrap().object;
        fill(&mut pod, POD);
        pod["spec"].clone()
    }

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
        ] {
            assert_eq!(default_pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_small_pod_becomes_what_upstream_stores() {
        let spec = filled(json!({
            "containers": [{"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}],
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                "readinessProbe": {"httpGet": {"port": 80}, "initialDelaySeconds": 0}}],
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "x"}}, {"name": "h", "hostPath": {"path": "/"}}],
            "hostNetwork": true, "hostPID": false, "serviceAccountName": "robot",
        }));
        assert_eq!(
            spec,
            json!({
                "containers": [{"name": "c", "image": "nginx:1", "imagePullPolicy": "IfNotPresent",
                    "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
                    {"name": "h", "hostPath": {"path": "/", "type": ""}}],
                "hostNetwork": true, "serviceAccountName": "robot", "serviceAccount": "robot",
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "enableServiceLinks": true,
            })
        );
    }
}
