use super::*;
use knarr_api::kinds;
use knarr_api::strategy;

const NOW: &str = "2026-01-01T12:00:00Z";

fn resource(plural: &str) -> Resource {
    let kind = kinds::by_resource("", "v1", plural).unwrap().clone();
    let strategy = strategy::of(&kind.group, &kind.kind);
    Resource { stored: kind.clone(), kind, cache: None, strategy, hooks: Vec::new() }
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// Metadata of an object, its plural and the options; then what becomes of it: `wait`, `remove`, or the marked fields.
fn planned(plural: &str, mut old: Value, options: DeleteOptions) -> String {
    old["metadata"]["name"] = json!("x");
    match plan(&resource(plural), &object(old), &options, NOW.parse().unwrap()) {
        Plan::Wait => "wait".into(),
        Plan::Remove(_) => "remove".into(),
        Plan::Mark(marked) => {
            let metadata = &marked["metadata"];
            let fields = ["deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "generation"];
            let shown = fields.iter().filter_map(|field| Some(metadata.get(field)?.to_string().replace('"', "")));
            shown.collect::<Vec<_>>().join(" ")
        }
    }
}

fn running_pod(metadata: Value) -> Value {
    json!({"metadata": metadata, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}})
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn policy(policy: Propagation) -> DeleteOptions {
    DeleteOptions { propagation_policy: Some(policy), ..DeleteOptions::default() }
}

#[test]
fn plain_objects_go_at_once_unless_a_finalizer_holds_them() {
    let plain = || json!({"metadata": {}});
    let held = || json!({"metadata": {"finalizers": ["a/b"], "generation": 3}});
    let deleting = |at: &str| json!({"metadata": {"finalizers": ["a/b"], "deletionTimestamp": at, "deletionGracePeriodSeconds": 0}});
    let none = DeleteOptions::default;
    let table = [
        (plain(), none(), "remove"),
        (plain(), grace(30), "remove"),
        (plain(), policy(Propagation::Background), "remove"),
        (plain(), policy(Propagation::Foreground), "2026-01-01T12:00:00Z 0 [foregroundDeletion]"),
        (plain(), policy(Propagation::Orphan), "2026-01-01T12:00:00Z 0 [orphan]"),
        (plain(), DeleteOptions { orphan_dependents: Some(true), ..none() }, "2026-01-01T12:00:00Z 0 [orphan]"),
        (held(), none(), "2026-01-01T12:00:00Z 0 [a/b] 4"),
        (deleting("2026-01-01T11:00:00Z"), none(), "wait"),
        (
            deleting("2026-01-01T11:00:00Z"),
            policy(Propagation::Foreground),
            "2026-01-01T11:00:00Z 0 [a/b,foregroundDeletion]",
        ),
        (
            json!({"metadata": {"finalizers": ["foregroundDeletion"]}}),
            none(),
            "2026-01-01T12:00:00Z 0 [foregroundDeletion]",
        ),
        (json!({"metadata": {"finalizers": ["orphan"]}}), policy(Propagation::Background), "remove"),
    ];
    for (old, options, expected) in table {
        assert_eq!(planned("configmaps", old.clone(), options.clone()), expected, "{old} {options:?}");
    }
}

#[test]
fn the_grace_period_of_a_pod_only_shrinks() {
    let deleting =
        |at: &str, seconds: i64| running_pod(json!({"deletionTimestamp": at, "deletionGracePeriodSeconds": seconds}));
    let none = DeleteOptions::default;
    let table = [
        (running_pod(json!({})), none(), "2026-01-01T12:00:30Z 30"),
        (running_pod(json!({"generation": 1})), grace(5), "2026-01-01T12:00:05Z 5 2"),
        (running_pod(json!({})), grace(-7), "2026-01-01T12:00:01Z 1"),
        (running_pod(json!({})), grace(0), "remove"),
        (running_pod(json!({"finalizers": ["a/b"]})), grace(0), "2026-01-01T12:00:00Z 0 [a/b]"),
        (deleting("2026-01-01T12:00:20Z", 30), none(), "wait"),
        (deleting("2026-01-01T12:00:20Z", 30), grace(60), "wait"),
        (deleting("2026-01-01T12:00:20Z", 30), grace(15), "2026-01-01T12:00:05Z 15"),
        (deleting("2026-01-01T12:00:20Z", 30), grace(5), "2026-01-01T12:00:00Z 1"),
        (deleting("2026-01-01T12:00:20Z", 30), grace(0), "remove"),
        (deleting("2026-01-01T12:00:00Z", 0), grace(0), "remove"),
        (json!({"metadata": {}, "spec": {"terminationGracePeriodSeconds": 30}}), none(), "remove"),
    ];
    for (old, options, expected) in table {
        assert_eq!(planned("pods", old.clone(), options.clone()), expected, "{old} {options:?}");
    }
}

#[test]
fn a_namespace_waits_until_it_is_empty() {
    let spec = json!({"finalizers": ["kubernetes"]});
    let fresh = json!({"metadata": {}, "spec": spec, "status": {"phase": "Active"}});
    assert_eq!(planned("namespaces", fresh.clone(), DeleteOptions::default()), "2026-01-01T12:00:00Z");
    let mut named = fresh;
    named["metadata"]["name"] = json!("x");
    let Plan::Mark(marked) =
        plan(&resource("namespaces"), &object(named), &DeleteOptions::default(), NOW.parse().unwrap())
    else {
        panic!("not marked")
    };
    assert_eq!(marked["status"]["phase"], "Terminating");
    let going = json!({"metadata": {"deletionTimestamp": NOW}, "spec": spec});
    assert_eq!(planned("namespaces", going, DeleteOptions::default()), "wait");
    let empty = json!({"metadata": {"deletionTimestamp": NOW}, "spec": {"finalizers": []}});
    assert_eq!(planned("namespaces", empty, DeleteOptions::default()), "remove");
}

#[test]
fn old_and_new_ways_to_orphan_exclude_each_other() {
    let both = DeleteOptions { orphan_dependents: Some(false), ..policy(Propagation::Orphan) };
    assert_eq!(check(&both).unwrap_err().code, 422);
    assert!(check(&policy(Propagation::Orphan)).is_ok());
}
