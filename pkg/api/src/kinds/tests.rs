use serde_json::json;

use super::*;
use crate::Object;

fn object(value: serde_json::Value) -> Object {
    value.as_object().unwrap().clone()
}

#[test]
fn lookups_know_the_version() {
    assert_eq!(by_resource("apps", "v1", "deployments").unwrap().kind, "Deployment");
    assert_eq!(by_kind("", "v1", "Endpoints").unwrap().plural, "endpoints");
    assert!(by_resource("apps", "v1beta1", "deployments").is_none());
    assert!(by_resource("", "v1", "deployments").is_none());
}

#[test]
fn names_are_unique() {
    assert_eq!(BY_PLURAL.len(), builtin().len());
    assert_eq!(BY_KIND.len(), builtin().len());
}

#[test]
fn every_kind_is_stored_once_or_never() {
    for kind in builtin() {
        match storage_of(kind) {
            Some(row) => assert!(row.stored().is_some(), "{} is stored nowhere", kind.qualified()),
            None => assert_eq!(kind.storage, Storage::Nowhere, "{}", kind.qualified()),
        }
        if kind.storage != Storage::Own {
            assert!(kind.storage == Storage::Nowhere || kind.versions.iter().all(|version| version.convert.is_some()));
        }
    }
    let event = by_resource("events.k8s.io", "v1", "events").unwrap();
    assert_eq!(storage_of(event).unwrap().group, "");
}

#[test]
fn an_event_becomes_the_other_event_and_back() {
    let core = object(json!({
        "metadata": {"name": "a"}, "involvedObject": {"kind": "Pod"}, "message": "Started", "reason": "Started",
        "source": {"component": "kubelet"}, "count": 2, "reportingComponent": "kubelet", "reportingInstance": "edge-1",
        "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:06Z", "eventTime": null,
    }));
    let mut event = core.clone();
    (event::CONVERT.from_stored)(&mut event);
    let expected = object(json!({
        "metadata": {"name": "a"}, "regarding": {"kind": "Pod"}, "note": "Started", "reason": "Started",
        "deprecatedSource": {"component": "kubelet"}, "deprecatedCount": 2,
        "reportingController": "kubelet", "reportingInstance": "edge-1",
        "deprecatedFirstTimestamp": "2026-01-02T03:04:05Z", "deprecatedLastTimestamp": "2026-01-02T03:04:06Z",
        "eventTime": null,
    }));
    assert_eq!(event, expected);
    (event::CONVERT.to_stored)(&mut event);
    assert_eq!(event, core);
}

#[test]
fn only_node_leases_and_events_are_relaxed() {
    let lease = by_kind("coordination.k8s.io", "v1", "Lease").unwrap();
    assert!(lease.is_relaxed("kube-node-lease") && !lease.is_relaxed("kube-system"));
    assert!(by_kind("", "v1", "Event").unwrap().is_relaxed("default"));
    assert!(!by_kind("", "v1", "Pod").unwrap().is_relaxed("kube-node-lease"));
}

#[test]
fn selectable_values_are_what_go_prints() {
    let value = |kind: &str, label: &str, of: serde_json::Value| {
        let kind = BY_KIND.iter().find(|((_, name), _)| *name == kind).unwrap().1;
        let field = kind.selectable_fields.iter().find(|field| field.label == label).unwrap();
        field.value(&object(of)).into_owned()
    };
    assert_eq!(value("Pod", "spec.nodeName", json!({"spec": {"nodeName": "a"}})), "a");
    assert_eq!(value("Pod", "spec.host", json!({"spec": {"nodeName": "a"}})), "a");
    assert_eq!(value("Pod", "spec.nodeName", json!({"spec": {}})), "");
    assert_eq!(value("Pod", "spec.hostNetwork", json!({})), "false");
    assert_eq!(value("Pod", "spec.hostNetwork", json!({"spec": {"hostNetwork": true}})), "true");
    assert_eq!(value("Job", "status.successful", json!({"status": {"succeeded": 3}})), "3");
    assert_eq!(value("Secret", "type", json!({"type": "Opaque"})), "Opaque");
    let core = by_kind("", "v1", "Event").unwrap();
    let source = core.selectable_fields.iter().find(|field| field.label == "source").unwrap();
    assert_eq!(source.value(&object(json!({"source": {}, "reportingComponent": "x"}))), "x");
}
