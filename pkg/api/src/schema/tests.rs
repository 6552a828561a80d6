use serde_json::{Value, json};

use super::*;
use crate::kinds;

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn read(kind: &str, text: &str) -> Result<decode::Decoded, decode::Error> {
    decode::from_slice(text.as_bytes(), root(kind).unwrap())
}

fn pod(value: Value) -> Result<decode::Decoded, decode::Error> {
    decode::from_value(value, root("io.k8s.api.core.v1.Pod").unwrap())
}

#[test]
fn every_version_of_every_kind_has_a_schema() {
    for kind in kinds::builtin() {
        for version in &kind.versions {
            let ty = root(&version.schema).unwrap_or_else(|| panic!("{} is missing", version.schema));
            let names: Vec<_> = ty.fields().map(Field::name).collect();
            assert!(
                names.contains(&"metadata") || kind.kind == "SelfSubjectReview",
                "{} has {names:?}",
                version.schema
            );
        }
    }
}

#[test]
fn the_table_knows_what_the_definitions_say() {
    let spec = root("io.k8s.api.core.v1.PodSpec").unwrap();
    let containers = spec.field("containers").unwrap();
    assert_eq!(containers.list_type(), ListType::Map);
    assert_eq!((containers.list_keys().collect::<Vec<_>>(), containers.merge_key()), (vec!["name"], "name"));
    assert!(containers.merges() && containers.is_required());
    assert!(spec.field("volumes").unwrap().retains_keys());
    let ports = containers.ty().unwrap().item().unwrap().field("ports").unwrap();
    assert_eq!(ports.list_keys().collect::<Vec<_>>(), ["containerPort", "protocol"]);
    assert!(root("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").unwrap().is_atomic());
    assert!(spec.field("nonsense").is_none());
}

#[test]
fn unknown_and_duplicate_fields_are_reported_where_they_are() {
    let read = read(
        DEPLOYMENT,
        r#"{"kind": "Deployment", "spec": {"foo": {"a": 1}, "replicas": 1, "replicas": 2, "template": {"spec":
            {"containers": [{"name": "a"}, {"name": "b", "ports": [{"nope": true}]}]}}},
            "metadata": {"labels": {"x": "1", "x": "2"}}}"#,
    )
    .unwrap();
    assert_eq!(
        read.strict,
        [
            r#"unknown field "spec.foo""#,
            r#"duplicate field "spec.replicas""#,
            r#"unknown field "spec.template.spec.containers[1].ports[0].nope""#,
            r#"duplicate field "metadata.labels.x""#,
        ]
    );
    assert_eq!(read.object["spec"]["replicas"], 2);
    assert_eq!(read.object["metadata"]["labels"], json!({"x": "2"}));
    assert!(read.object["spec"].get("foo").is_none());
    assert_eq!(
        decode::strict_error(&read.strict[..2]).unwrap(),
        r#"strict decoding error: unknown field "spec.foo", duplicate field "spec.replicas""#
    );
}

#[test]
fn wrong_types_get_gos_texts() {
    for (spec, expected) in [
        (
            json!({"replicas": "three"}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"replicas": 1.5}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"replicas": 3_000_000_000_i64}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"template": {"spec": {"containers": {"name": "a"}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"template": {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}}),
            "json: cannot unmarshal string into Go struct field \
             ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
        ),
        (
            json!({"template": {"metadata": {"labels": {"a": 1}}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.spec.template.metadata.labels of type string",
        ),
        (
            json!({"template": []}),
            "json: cannot unmarshal array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec",
        ),
        (
            json!({"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"template": {"metadata": {"creationTimestamp": 5}}}),
            "json: cannot unmarshal number into Go struct field \
             ObjectMeta.spec.template.metadata.creationTimestamp of type string",
        ),
        (
            json!({"strategy": {"rollingUpdate": {"maxSurge": true}}}),
            "json: cannot unmarshal bool into Go struct field \
             RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
    ] {
        let error = decode::from_value(json!({"spec": spec}), root(DEPLOYMENT).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = read(DEPLOYMENT, "[]").unwrap_err();
    assert_eq!(error.to_string(), "json: cannot unmarshal array into Go value of type v1.Deployment");
    assert!(matches!(read(DEPLOYMENT, "{").unwrap_err(), decode::Error::Syntax(_)));
    assert!(matches!(read(DEPLOYMENT, "{} x").unwrap_err(), decode::Error::Syntax(_)));
    let error = read("io.k8s.api.core.v1.Secret", r#"{"data": {"a": "b!=="}}"#).unwrap_err();
    assert_eq!(error.to_string(), "illegal base64 data at input byte 1");
}

#[test]
fn nulls_vanish_or_become_zero() {
    let read = pod(json!({
        "metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": null}},
        "spec": {"nodeName": null, "containers": [null, {"name": "b", "args": [null]}]},
        "status": null,
    }))
    .unwrap();
    let expected = json!({
        "metadata": {"name": "a", "labels": {"x": ""}},
        "spec": {"containers": [{}, {"name": "b", "args": [""]}]},
    });
    assert_eq!(Value::Object(read.object), expected);
}

#[test]
fn what_go_omits_is_no_part_of_an_object() {
    let read = pod(json!({
        "metadata": {"name": "a", "labels": {}, "generateName": ""},
        "spec": {
            "nodeSelector": {}, "tolerations": [], "hostNetwork": false, "priorityClassName": "",
            // Pointers: zero is something else than nothing.
            "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "affinity": {},
            "securityContext": {"supplementalGroups": [], "fsGroup": 0},
            "containers": [{
                "name": "",
                "livenessProbe": {"initialDelaySeconds": 0, "exec": {"command": []}},
                "securityContext": {"capabilities": {"add": [], "drop": ["ALL"]}},
            }],
        },
        "status": {"containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "containerID": ""}]},
    }))
    .unwrap();
    let expected = json!({
        "metadata": {"name": "a"},
        "spec": {
            "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "affinity": {},
            "securityContext": {"fsGroup": 0},
            "containers": [{
                "name": "",
                "livenessProbe": {"exec": {}},
                "securityContext": {"capabilities": {"drop": ["ALL"]}},
            }],
        },
        "status": {"containerStatuses": [{"name": "c", "ready": false, "restartCount": 0}]},
    });
    assert_eq!(Value::Object(read.object), expected);
    // Those of embedded structs too.
    let hook = json!({"webhooks": [{"name": "a", "rules": [{"operations": [], "scope": ""}]}]});
    let ty = root("io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration").unwrap();
    let read = decode::from_value(hook, ty).unwrap();
    assert_eq!(Value::Object(read.object), json!({"webhooks": [{"name": "a", "rules": [{"scope": ""}]}]}));
}

#[test]
fn values_are_written_as_upstream_writes_them_back() {
    let read = pod(json!({
        "metadata": {"creationTimestamp": "2026-01-02T03:04:05.5+01:00"},
        "spec": {"containers": [{
            "resources": {"limits": {"cpu": 2, "memory": "1024Mi"}, "requests": {"cpu": "0.1", "memory": "1e3"}},
            "livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"tcpSocket": {"port": 80}},
        }]},
    }))
    .unwrap();
    let container = &read.object["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "2", "memory": "1Gi"}));
    assert_eq!(container["resources"]["requests"], json!({"cpu": "100m", "memory": "1e3"}));
    assert_eq!(read.object["metadata"]["creationTimestamp"], "2026-01-02T02:04:05Z");
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], "http");
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 80);
}

#[test]
fn what_has_no_schema_is_kept_whole() {
    let ty = root("io.k8s.api.apps.v1.ControllerRevision").unwrap();
    let body = json!({"revision": 1, "data": {"spec": {"anything": [1, null]}}});
    let read = decode::from_value(body.clone(), ty).unwrap();
    assert_eq!((Value::Object(read.object), read.strict), (body, vec![]));
}

#[test]
fn static_defaults_and_gos_zero_values() {
    let mut object =
        pod(json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}})).unwrap().object;
    defaults::fill(&mut object, root("io.k8s.api.core.v1.Pod").unwrap());
    assert_eq!(
        Value::Object(object),
        json!({
            "metadata": {},
            "spec": {"containers": [
                {"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {}},
            ]},
            "status": {},
        })
    );
    let mut pool = Object::from_iter([("spec".to_owned(), json!({"addresses": []}))]);
    defaults::fill(&mut pool, root("io.metallb.v1beta1.IPAddressPool").unwrap());
    assert_eq!(pool["spec"], json!({"addresses": [], "autoAssign": true, "avoidBuggyIPs": false}));
    let mut service = Object::new();
    defaults::fill(&mut service, root("io.k8s.api.core.v1.Service").unwrap());
    assert_eq!(service["status"], json!({"loadBalancer": {}}));
}

use crate::Object;
