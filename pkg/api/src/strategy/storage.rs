//! `storage.k8s.io`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fill::Fill::{Absent, Make, Zero};
use super::fill::Fixed::{Flag, Text, Texts};
use super::row::{METADATA, Row, SPEC};
use super::rules::{At, IMMUTABLE, Rule, check, formed};
use super::{Context, forms};
use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::tree::{Tree, same};

/// StorageClasses.
pub(super) static STORAGE_CLASS: Row = Row {
    fills: &[Absent("reclaimPolicy", Text("Delete")), Absent("volumeBindingMode", Text("Immediate"))],
    rules: &[
        Rule::Required("provisioner"),
        Rule::With(|errors, at| {
            let provisioner = at.text("provisioner");
            if !provisioner.is_empty() {
                formed(errors, &at.path("provisioner"), &provisioner.to_lowercase(), forms::qualified);
            }
        }),
        Rule::With(check_parameters),
        Rule::OneOf("reclaimPolicy", &["Delete", "Retain"]),
        Rule::OneOf("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]),
        Rule::Each("allowedTopologies", &[Rule::With(check_topology)]),
    ],
    check_update: |_, errors, new, old| {
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(new.get(field), old.get(field)) {
                errors.forbidden(Path::root(field), format!("updates to {field} are forbidden."));
            }
        }
    },
    immutable: &["volumeBindingMode"],
    ..Row::PLAIN
};

fn check_parameters(errors: &mut Errors, at: &At<'_>) {
    let parameters = at.object.map("parameters");
    let path = at.path("parameters");
    let mut too_long = |most: usize| {
        errors.push(Reason::TooLong, path.clone(), None, format!("may not be more than {most} bytes"));
    };
    if parameters.len() > 512 {
        too_long(512);
    }
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if parameters.iter().map(size).sum::<usize>() > 256 * 1024 {
        too_long(256 * 1024);
    }
    if parameters.contains_key("") {
        errors.invalid(path, "", "field can not be empty.");
    }
}

fn check_topology(errors: &mut Errors, term: &At<'_>) {
    let mut keys = BTreeSet::new();
    for rule in term.each("matchLabelExpressions") {
        check(errors, &rule, &[Rule::Required("values")]);
        let mut values = BTreeSet::new();
        for (path, value) in rule.texts("values") {
            if !values.insert(value) {
                errors.duplicate(path, value);
            }
        }
        formed(errors, &rule.path("key"), rule.text("key"), forms::qualified);
        if !keys.insert(rule.text("key")) {
            errors.duplicate(rule.path("key"), rule.text("key"));
        }
    }
}

/// VolumeAttachments.
pub(super) static VOLUME_ATTACHMENT: Row = Row {
    rules: &[Rule::In(
        "spec",
        &[
            Rule::Required("attacher"),
            Rule::With(check_source),
            Rule::With(|errors, at| formed(errors, &at.path("nodeName"), at.text("nodeName"), forms::subdomain)),
        ],
    )],
    immutable: &["spec"],
    needs_revision: true,
    status_restores: METADATA,
    ..Row::PLAIN
};

fn check_source(errors: &mut Errors, spec: &At<'_>) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (path, source) = (spec.path("source"), spec.object.map("source"));
    match (source.has("inlineVolumeSpec"), source.has("persistentVolumeName")) {
        (false, false) => errors.required(path, ONE),
        (true, true) => errors.forbidden(path, ONE),
        (false, true) if source.text("persistentVolumeName").is_empty() => {
            errors.required(path.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        _ => {}
    }
}

/// CSIDrivers.
pub(super) static CSI_DRIVER: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Absent("attachRequired", Flag(true)),
            Absent("podInfoOnMount", Flag(false)),
            Absent("storageCapacity", Flag(false)),
            Absent("fsGroupPolicy", Text("ReadWriteOnceWithFSType")),
            Zero("volumeLifecycleModes", Texts(&["Persistent"])),
            Absent("requiresRepublish", Flag(false)),
            Absent("seLinuxMount", Flag(false)),
        ],
    )],
    rules: &[Rule::In(
        "spec",
        &[
            Rule::OneOf("fsGroupPolicy", &["ReadWriteOnceWithFSType", "File", "None"]),
            Rule::With(check_tokens),
            Rule::With(|errors, at| {
                for mode in at.object.texts("volumeLifecycleModes") {
                    if !matches!(mode, "Persistent" | "Ephemeral") {
                        let path = at.path("volumeLifecycleModes");
                        errors.not_supported(path, mode, &["Persistent", "Ephemeral"]);
                    }
                }
            }),
        ],
    )],
    check_update: |_: &Context<'_>, errors, new, old| {
        for (field, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            let (new, old) = (new.map("spec").get(field), old.map("spec").get(field));
            if !same(new, old) {
                errors.invalid(Path::root("spec").child(shown), new.cloned().unwrap_or_default(), IMMUTABLE);
            }
        }
    },
    needs_revision: true,
    generation: SPEC,
    ..Row::PLAIN
};

fn check_tokens(errors: &mut Errors, spec: &At<'_>) {
    let mut audiences = BTreeSet::new();
    for request in spec.each("tokenRequests") {
        if !audiences.insert(request.text("audience")) {
            errors.duplicate(request.path("audience"), request.text("audience"));
            continue;
        }
        let Some(seconds) = request.object.int("expirationSeconds") else { continue };
        if seconds < 600 {
            let detail = "may not specify a duration less than 10 minutes";
            errors.invalid(request.path("expirationSeconds"), seconds, detail);
        }
        if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(request.path("expirationSeconds"), seconds, detail);
        }
    }
}

/// CSINodes.
pub(super) static CSI_NODE: Row =
    Row { check: |_, errors, node| check_drivers(errors, node), needs_revision: true, ..Row::PLAIN };

fn check_drivers(errors: &mut Errors, node: &Object) {
    let spec = At { path: Path::root("spec"), object: node.map("spec") };
    let mut names = BTreeSet::new();
    for driver in spec.each("drivers") {
        let (name, id) = (driver.text("name"), driver.text("nodeID"));
        check(errors, &driver, &[Rule::Required("name"), Rule::Required("nodeID")]);
        if id.len() > 192 {
            errors.invalid(driver.path("nodeID"), id, "must be 192 characters or less");
        }
        check(errors, &driver, &[Rule::In("allocatable", &[Rule::NonNegative("count")])]);
        if !names.insert(name) {
            errors.duplicate(driver.path("name"), name);
        }
        for key in driver.object.texts("topologyKeys") {
            formed(errors, &driver.path, key, forms::qualified);
        }
    }
}

/// CSIStorageCapacities.
pub(super) static CSI_STORAGE_CAPACITY: Row = Row {
    rules: &[Rule::Named("storageClassName", forms::subdomain)],
    immutable: &["nodeTopology", "storageClassName"],
    needs_revision: true,
    ..Row::PLAIN
};

/// VolumeAttributesClasses.
pub(super) static VOLUME_ATTRIBUTES_CLASS: Row = Row {
    rules: &[
        Rule::Required("driverName"),
        Rule::With(|errors, at| {
            if at.object.map("parameters").is_empty() {
                errors.required(at.path("parameters"), "must contain at least one key/value pair");
            }
        }),
        Rule::With(check_parameters),
    ],
    check_update: |_, errors, new, old| {
        for field in ["driverName", "parameters"] {
            if !same(new.get(field), old.get(field)) {
                errors.forbidden(Path::root(field), format!("updates to {field} are forbidden."));
            }
        }
    },
    ..Row::PLAIN
};
