//! What holds for every kind.

use serde_json::{Value, json};

use super::*;
use crate::kinds;
use crate::table;

/// Objects that a schema would refuse, or that are strange but allowed: nothing in them may end in a panic.
fn strange() -> Vec<Value> {
    let deep = json!({"a": [{"b": null}], "metadata": 5});
    let lists = json!({"metadata": {"name": "x", "labels": [], "annotations": {"a": 1}}, "spec": {
        "containers": [null, 3, {}, {"ports": [{}], "env": [{"valueFrom": {}}], "volumeMounts": [{}], "livenessProbe": {}}],
        "template": {"spec": {"containers": {}}, "metadata": {"labels": {"a": 1}}}, "ports": [{}, 7],
        "selector": {"matchLabels": {"a": null}, "matchExpressions": [{}]}, "rules": [{}], "limits": [{"max": {"cpu": {}}}],
        "metrics": [{"type": "Resource"}, {"type": "Ünknown"}], "addresses": ["-", "/", ""], "names": {"kind": "Ä"},
        "versions": [{}], "capacity": {"storage": -1}, "schedule": "é é é é é", "clusterIPs": ["", "x"]},
        "subsets": [{"addresses": [{}]}], "endpoints": [{}], "webhooks": [{"rules": [{}], "clientConfig": {"url": "https://"}}],
        "status": {"conditions": [null, {}], "containerStatuses": [{"state": {"terminated": {}}}], "podIPs": [{}, {}, {}]}});
    vec![
        json!({}),
        json!({"spec": null, "status": null}),
        json!({"spec": [], "status": "x", "metadata": {}}),
        deep,
        lists,
    ]
}

#[test]
fn no_object_makes_a_strategy_panic() {
    let user = UserInfo::default();
    let now = "2026-01-01T00:00:00Z";
    for kind in kinds::builtin() {
        let strategy = of(&kind.group, &kind.kind);
        for value in strange() {
            let Value::Object(given) = value else { unreachable!() };
            let mut object = given.clone();
            strategy.default(&mut object);
            let again = object.clone();
            strategy.default(&mut object);
            assert_eq!(object, again, "defaults of {} are filled twice", kind.kind);
            for subresource in [None, Some("status"), Some("resize"), Some("ephemeralcontainers"), Some("approval")] {
                let cx = Context { user: &user, subresource, now };
                let (mut new, old) = (object.clone(), given.clone());
                strategy.prepare_for_create(&cx, &mut new);
                strategy.prepare_for_update(&cx, &mut new, &old);
                let _ = strategy.validate(&cx, &new).causes();
                let _ = strategy.validate_update(&cx, &new, &old).causes();
                let _ = strategy.validate_update(&cx, &old, &new).causes();
            }
            let _ = strategy.warnings(&object, None);
            let _ = strategy.grace_period(&object, None);
            let _ = strategy.changes_generation(&object, &given);
            let row = table::row(kind, &object, jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(row.cells.len(), table::columns(kind).len(), "{}", kind.kind);
        }
    }
}
