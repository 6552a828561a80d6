//! The FlowSchemas and PriorityLevelConfigurations that every cluster has:
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>.
//!
//! The tables say what `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap` says. The mandatory ones are always as they shall
//! be; the suggested ones are kept up to date unless `apf.kubernetes.io/autoupdate-spec: "false"` or, without that
//! annotation, a change of theirs says otherwise.

use knarr_api::Object;
use knarr_api::object::{Meta, object_in};
use knarr_api::tree::Tree;
use serde_json::{Value, json};

use super::item::{Change, Item};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Name, shares, lendable percent, queues and hand size.
type Level = (&'static str, u32, u32, Option<(u32, u32)>);

const LEVELS: [Level; 6] = [
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];

/// What a schema matches.
#[derive(Clone, Copy)]
enum Rules {
    Everything,
    Probes,
    Leases,
    Nodes,
}

/// Whom a schema matches.
#[derive(Clone, Copy)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    SystemAccounts,
}

use Subject::{Group, SystemAccounts, User};

/// Name, level, precedence, distinguisher, subjects, rules.
type Schema = (&'static str, &'static str, u32, &'static str, &'static [Subject], Rules);

const EVERYBODY: &[Subject] = &[Group("system:unauthenticated"), Group("system:authenticated")];
const NODES: &[Subject] = &[Group("system:nodes")];
const LEADERS: &[Subject] = &[User("system:kube-controller-manager"), User("system:kube-scheduler"), SystemAccounts];

const MANDATORY: [Schema; 2] = [
    ("exempt", "exempt", 1, "", &[Group("system:masters")], Rules::Everything),
    ("catch-all", "catch-all", 10000, "ByUser", EVERYBODY, Rules::Everything),
];

const SUGGESTED: [Schema; 9] = [
    ("system-nodes", "system", 500, "ByUser", NODES, Rules::Everything),
    ("system-node-high", "node-high", 400, "ByUser", NODES, Rules::Nodes),
    ("probes", "exempt", 2, "", EVERYBODY, Rules::Probes),
    ("system-leader-election", "leader-election", 100, "ByUser", LEADERS, Rules::Leases),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &[User("system:kube-controller-manager")],
        Rules::Everything,
    ),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", &[User("system:kube-scheduler")], Rules::Everything),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", &[SystemAccounts], Rules::Everything),
    ("service-accounts", "workload-low", 9000, "ByUser", &[Group("system:serviceaccounts")], Rules::Everything),
    ("global-default", "global-default", 9900, "ByUser", EVERYBODY, Rules::Everything),
];

/// All of them.
pub(super) fn items() -> Vec<Item> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let mandatory = [("exempt", exempt), ("catch-all", limited(5, 0, None))];
    let mandatory = mandatory.map(|(name, spec)| Item::kept(level(name, &spec), keep_mandatory));
    let suggested = LEVELS.map(|(name, shares, lendable, queues)| {
        Item::kept(level(name, &limited(shares, lendable, queues)), keep_suggested)
    });
    let schemas = MANDATORY.iter().map(|row| Item::kept(schema(row), keep_mandatory));
    let schemas = schemas.chain(SUGGESTED.iter().map(|row| Item::kept(schema(row), keep_suggested)));
    mandatory.into_iter().chain(suggested).chain(schemas).collect()
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {AUTOUPDATE: "true"}})
}

fn level(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "PriorityLevelConfiguration", "metadata": metadata(name), "spec": spec})
}

fn limited(shares: u32, lendable: u32, queues: Option<(u32, u32)>) -> Value {
    let response = match queues {
        None => json!({"type": "Reject"}),
        Some((queues, hand)) => json!({
            "type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
        }),
    };
    json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
    }})
}

fn schema((name, level, precedence, distinguisher, subjects, rules): &Schema) -> Value {
    let mut rule = rules.expand();
    rule.insert("subjects".into(), subjects.iter().map(Subject::expand).collect());
    let mut spec = super::item::into_object(json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    }));
    if !distinguisher.is_empty() {
        spec.insert("distinguisherMethod".into(), json!({"type": distinguisher}));
    }
    json!({"apiVersion": API_VERSION, "kind": "FlowSchema", "metadata": metadata(name), "spec": spec})
}

impl Subject {
    fn expand(&self) -> Value {
        match self {
            User(name) => json!({"kind": "User", "user": {"name": name}}),
            Group(name) => json!({"kind": "Group", "group": {"name": name}}),
            SystemAccounts => {
                json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
            }
        }
    }
}

impl Rules {
    fn expand(self) -> Object {
        let resource = |verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool| {
            let mut rule = super::item::into_object(json!({
                "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"],
            }));
            if cluster_scope {
                rule.insert("clusterScope".into(), true.into());
            }
            rule
        };
        super::item::into_object(match self {
            Self::Everything => json!({
                "resourceRules": [resource(&["*"], "*", &["*"], true)],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }),
            Self::Probes => json!({
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
            }),
            Self::Leases => json!({
                "resourceRules": [resource(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)],
            }),
            Self::Nodes => json!({"resourceRules": [
                resource(&["*"], "", &["nodes", "nodes/status"], true),
                resource(&["*"], "coordination.k8s.io", &["leases"], false),
            ]}),
        })
    }
}

fn keep_mandatory(existing: &Object, expected: &Object) -> Change {
    overwrite(existing, expected, true)
}

fn keep_suggested(existing: &Object, expected: &Object) -> Change {
    let wish = existing.map("metadata.annotations").get(AUTOUPDATE).and_then(Value::as_str);
    let ours = match wish {
        Some("true") => true,
        Some("false") => false,
        // Nobody has said anything: a first generation is what we made ourselves.
        _ => existing.int("metadata.generation") == Some(1),
    };
    overwrite(existing, expected, ours)
}

fn overwrite(existing: &Object, expected: &Object, ours: bool) -> Change {
    let mut updated = existing.clone();
    if let Some(spec) = expected.get("spec").filter(|_| ours) {
        updated.insert("spec".into(), spec.clone());
    }
    let annotations = object_in(updated.meta_mut().entry("annotations").or_insert(Value::Null));
    annotations.insert(AUTOUPDATE.into(), if ours { "true" } else { "false" }.into());
    Change::to(existing, updated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: &str, name: &str) -> Item {
        let is = |item: &Item| item.object.str_at(&["kind"]) == kind && item.object.name() == name;
        items().into_iter().find(is).unwrap()
    }

    #[test]
    fn every_schema_names_a_level_that_exists() {
        let items = items();
        let of = |kind: &'static str| items.iter().filter(move |item| item.object.str_at(&["kind"]) == kind);
        assert_eq!((of("FlowSchema").count(), of("PriorityLevelConfiguration").count()), (11, 8));
        for schema in of("FlowSchema") {
            find("PriorityLevelConfiguration", schema.object.text("spec.priorityLevelConfiguration.name"));
        }
    }

    #[test]
    fn a_users_change_of_a_suggestion_stays() {
        let probes = find("FlowSchema", "probes");
        let changed = |annotation: Option<&str>, generation: i64| {
            let mut object = probes.object.clone();
            object["spec"]["matchingPrecedence"] = 77.into();
            object["metadata"] = json!({"name": "probes", "generation": generation});
            if let Some(wish) = annotation {
                object["metadata"]["annotations"] = json!({AUTOUPDATE: wish});
            }
            object
        };
        let precedence = |existing: &Object, item: &Item| match (item.reconcile)(existing, &item.object) {
            Change::Update(updated) => updated.number("spec.matchingPrecedence"),
            _ => existing.number("spec.matchingPrecedence"),
        };
        for (wish, generation, expected) in [(Some("true"), 9, 2), (Some("false"), 1, 77), (None, 1, 2), (None, 2, 77)]
        {
            assert_eq!(precedence(&changed(wish, generation), &probes), expected, "{wish:?} {generation}");
        }
        let exempt = find("FlowSchema", "exempt");
        assert_eq!(precedence(&changed(Some("false"), 9), &exempt), 1);
    }
}
