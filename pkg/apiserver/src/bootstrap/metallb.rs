//! MetalLB's two kinds are compiled in, and visible as the CustomResourceDefinitions that its users look for
//! (<https://metallb.io/apis/>).

use serde_json::{Value, json};

use super::item::Item;

/// The definitions.
pub(super) fn items() -> [Item; 2] {
    [address_pool(), l2_advertisement()]
}

fn address_pool() -> Item {
    let spec = json!({
        "type": "object",
        "required": ["addresses"],
        "properties": {
            "addresses": {"type": "array", "items": {"type": "string"}},
            "autoAssign": {"type": "boolean", "default": true},
            "avoidBuggyIPs": {"type": "boolean", "default": false},
            "serviceAllocation": {"type": "object", "properties": {
                "priority": {"type": "integer"},
                "namespaces": {"type": "array", "items": {"type": "string"}},
                "namespaceSelectors": selectors(),
                "serviceSelectors": selectors(),
            }},
        },
    });
    let counter = || json!({"type": "integer", "format": "int64"});
    let status = json!({"type": "object", "properties": {
        "assignedIPv4": counter(), "assignedIPv6": counter(), "availableIPv4": counter(), "availableIPv6": counter(),
    }});
    let columns = json!([
        {"name": "Auto Assign", "type": "boolean", "jsonPath": ".spec.autoAssign"},
        {"name": "Avoid Buggy IPs", "type": "boolean", "jsonPath": ".spec.avoidBuggyIPs"},
        {"name": "Addresses", "type": "string", "jsonPath": ".spec.addresses"},
    ]);
    definition(("IPAddressPool", "ipaddresspools", "ipaddresspool"), spec, status, columns)
}

fn l2_advertisement() -> Item {
    let strings = || json!({"type": "array", "items": {"type": "string"}});
    let spec = json!({"type": "object", "properties": {
        "ipAddressPools": strings(),
        "ipAddressPoolSelectors": selectors(),
        "nodeSelectors": selectors(),
        "interfaces": strings(),
    }});
    let columns = json!([
        {"name": "IPAddressPools", "type": "string", "jsonPath": ".spec.ipAddressPools"},
        {"name": "IPAddressPool Selectors", "type": "string", "jsonPath": ".spec.ipAddressPoolSelectors"},
        {"name": "Interfaces", "type": "string", "jsonPath": ".spec.interfaces"},
        {"name": "Node Selectors", "type": "string", "jsonPath": ".spec.nodeSelectors", "priority": 10},
    ]);
    let status = json!({"type": "object"});
    definition(("L2Advertisement", "l2advertisements", "l2advertisement"), spec, status, columns)
}

/// A list of label selectors.
fn selectors() -> Value {
    json!({"type": "array", "items": {
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {"type": "array", "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": {"type": "string"},
                    "operator": {"type": "string"},
                    "values": {"type": "array", "items": {"type": "string"}},
                },
            }},
        },
    }})
}

fn definition((kind, plural, singular): (&str, &str, &str), spec: Value, status: Value, columns: Value) -> Item {
    let names = json!({"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular});
    let schema = json!({"openAPIV3Schema": {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }});
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.metallb.io")},
        "spec": {
            "group": "metallb.io",
            "names": names,
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true, "schema": schema,
                "subresources": {"status": {}}, "additionalPrinterColumns": columns,
            }],
        },
    });
    let now = crate::registry::metadata::now();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    Item::once(object).with_status(json!({
        "acceptedNames": names,
        "storedVersions": ["v1beta1"],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    }))
}
