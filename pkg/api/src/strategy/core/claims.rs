//! Persistent volumes and claims.

use serde_json::{Value, json};

use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::quantity::Quantity;
use crate::strategy::diff::diff;
use crate::strategy::fill::Fill::{self, Absent, Drop, Make, With, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::pod::{
    NETWORK_VOLUME, NFS, check_amount, check_node_selector, no_backsteps, quantities, quantity,
};
use crate::strategy::row::Row;
use crate::strategy::rules::{At, IMMUTABLE, NOT_POSITIVE, Rule, check, formed};
use crate::strategy::{Context, forms, selector};
use crate::tree::{Tree, same, same_objects};

/// Of the `spec` of claims and of claim templates.
pub(in crate::strategy) const CLAIM_SPEC: &[Fill] =
    &[Absent("volumeMode", Text("Filesystem")), Drop(&["volumeName"]), With(join_sources)];

/// PersistentVolumes.
pub(in crate::strategy) static VOLUME: Row = Row {
    fills: &[
        Make(
            "spec",
            &[Zero("persistentVolumeReclaimPolicy", Text("Retain")), Absent("volumeMode", Text("Filesystem"))],
        ),
        Make("spec", NETWORK_VOLUME),
    ],
    check: |_, errors, volume| check_volume(errors, &At { path: Path::root("spec"), object: volume.map("spec") }),
    check_update: check_volume_update,
    warn: |volume, _| volume_warnings(volume),
    prepare_create: |cx, volume| {
        volume.insert("status".into(), json!({"phase": "Pending", "lastPhaseTransitionTime": cx.now}));
    },
    prepare_update: note_transition,
    ..Row::PLAIN
};

/// PersistentVolumeClaims.
pub(in crate::strategy) static CLAIM: Row = Row {
    fills: &[Make("spec", CLAIM_SPEC)],
    check: |_, errors, claim| check_claim_spec(errors, &At { path: Path::root("spec"), object: claim.map("spec") }),
    check_update: check_claim_update,
    warn: |claim, _| claim_warnings(claim),
    prepare_create: |_, claim| {
        claim.insert("status".into(), json!({"phase": "Pending"}));
    },
    ..Row::PLAIN
};

/// When the phase last changed, unless the writer says so itself.
fn note_transition(cx: &Context<'_>, new: &mut Object, old: &Object) {
    if cx.subresource != Some("status") {
        return;
    }
    const TIME: &str = "lastPhaseTransitionTime";
    let (before, after) = (old.map("status"), new.map("status"));
    let unsaid = !after.has(TIME);
    if before.text("phase") == after.text("phase") {
        if let (true, Some(time)) = (unsaid, before.get(TIME)) {
            new.section("status").insert(TIME.into(), time.clone());
        }
    } else if unsaid || before.text(TIME) == after.text(TIME) {
        new.section("status").insert(TIME.into(), cx.now.into());
    }
}

/// `dataSource` and `dataSourceRef` of the same namespace say the same: each is written with the value of the other.
fn join_sources(spec: &mut Object) {
    let (one, other) = (spec.value("dataSource").cloned(), spec.value("dataSourceRef").cloned());
    match (one, other) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".into(), source);
        }
        (None, Some(Value::Object(source))) if source.text("namespace").is_empty() => {
            spec.insert("dataSource".into(), Value::Object(source));
        }
        _ => {}
    }
}

/// Annotations that have become fields.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    ("volume.beta.kubernetes.io/storage-class", "deprecated since v1.8; use \"storageClassName\" attribute instead"),
    ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
];

fn annotation_warnings(object: &Object, known: &[(&str, &str)]) -> Vec<String> {
    let own = object.map("metadata.annotations");
    let found = known.iter().filter(|(key, _)| own.contains_key(*key));
    found.map(|(key, text)| format!("metadata.annotations[{key}]: {text}")).collect()
}

fn claim_warnings(claim: &Object) -> Vec<String> {
    let mut warnings = annotation_warnings(claim, OLD_ANNOTATIONS.get(..1).unwrap_or_default());
    for list in ["requests", "limits"] {
        let amount = claim.map("spec.resources").map(list).get("storage").and_then(quantity);
        if let Some(amount) = amount.filter(|amount| *amount != Quantity::new(amount.value(), amount.format())) {
            let text = amount.to_string();
            let path = format!("spec.resources.{list}[storage]");
            warnings.push(format!("{path}: fractional byte value {text:?} is invalid, must be an integer"));
        }
    }
    warnings
}

const OLD_SOURCES: &[(&str, &str)] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn volume_warnings(volume: &Object) -> Vec<String> {
    let mut warnings = annotation_warnings(volume, OLD_ANNOTATIONS);
    let spec = volume.map("spec");
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let text = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
                    provisioning.";
        warnings.push(format!("spec.persistentVolumeReclaimPolicy: {text}"));
    }
    let old = OLD_SOURCES.iter().filter(|(field, _)| spec.has(field));
    warnings.extend(old.map(|(field, text)| format!("spec.{field}: {text}")));
    warnings
}

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

fn check_access_modes(errors: &mut Errors, spec: &At<'_>) {
    let modes: Vec<_> = spec.object.texts("accessModes").collect();
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(spec.path("accessModes"), *mode, ACCESS_MODES);
    }
    let alone = |mode: &&&str| **mode == "ReadWriteOncePod";
    let others = modes.iter().filter(|mode| !alone(mode) && ACCESS_MODES.contains(mode)).count();
    if modes.iter().any(|mode| alone(&mode)) && others > 0 {
        errors.forbidden(spec.path("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
}

/// Checks the spec of a claim or of a claim template.
pub(in crate::strategy) fn check_claim_spec(errors: &mut Errors, spec: &At<'_>) {
    if spec.object.list("accessModes").is_empty() {
        errors.required(spec.path("accessModes"), "at least 1 access mode is required");
    }
    selector::check_in(errors, spec, "selector");
    check_access_modes(errors, spec);
    let path = spec.path("resources").key("storage");
    match spec.object.value("resources.requests.storage").and_then(quantity) {
        None => errors.required(path, ""),
        Some(size) if size.is_zero() || size.is_negative() => errors.invalid(path, size.to_string(), NOT_POSITIVE),
        Some(size) => check_amount(errors, &path, "storage", size),
    }
    check(errors, spec, &[Rule::Formed("storageClassName", forms::subdomain), Rule::OneOf("volumeMode", VOLUME_MODES)]);
    for source in ["dataSource", "dataSourceRef"].into_iter().filter_map(|field| spec.enter(field)) {
        check_source(errors, &source);
    }
    if let (Some(source), Some(reference)) = (spec.object.object("dataSource"), spec.object.object("dataSourceRef")) {
        let alike = ["apiGroup", "kind", "name"].iter().all(|field| same(source.get(*field), reference.get(*field)));
        let detail = match reference.text("namespace") {
            "" if alike => "",
            "" => "must match dataSourceRef",
            _ => "may not be specified when dataSourceRef.namespace is specified",
        };
        if !detail.is_empty() {
            errors.invalid(spec.path.clone(), spec.path("dataSource").to_string(), detail);
        }
    }
    check(errors, spec, &[Rule::Formed("volumeAttributesClassName", forms::subdomain)]);
}

fn check_source(errors: &mut Errors, source: &At<'_>) {
    check(errors, source, &[Rule::Required("name"), Rule::Required("kind")]);
    let kind = source.text("kind");
    if source.text("apiGroup").is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(source.path.clone(), kind, detail);
    }
    check(errors, source, &[Rule::Formed("apiGroup", forms::subdomain), Rule::Formed("namespace", forms::label)]);
}

fn check_claim_update(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    let (after, before) = (new.map("spec"), old.map("spec"));
    let (mut munged, mut base) = (after.clone(), before.clone());
    let mut ignore = |field: &str| drop((munged.remove(field), base.remove(field)));
    if before.text("volumeName").is_empty() {
        ignore("volumeName");
    }
    if !before.has("storageClassName") && after.has("storageClassName") {
        ignore("storageClassName");
    }
    ignore("volumeMode");
    let bound = new.text("status.phase") == "Bound";
    if bound {
        ignore("volumeAttributesClassName");
        for spec in [&mut munged, &mut base] {
            spec.section("resources").section("requests").remove("storage");
        }
    }
    if !same_objects(&munged, &base) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden(Path::root("spec"), format!("{detail}\n{}", diff(before, after)));
    }
    let size = |spec: &Object| spec.value("resources.requests.storage").and_then(quantity);
    if size(after) < size(before) && size(after) <= old.value("status.capacity.storage").and_then(quantity) {
        let path = Path::root("spec").child("resources").child("requests").child("storage");
        errors.forbidden(path, "field can not be less than status.capacity");
    }
    if !same(after.get("volumeMode"), before.get("volumeMode")) {
        errors.invalid(Path::root("volumeMode"), after.text("volumeMode"), IMMUTABLE);
    }
}

const RECLAIM: &[&str] = &["Delete", "Recycle", "Retain"];

/// Kinds of sources of persistent volumes, and their rules.
const SOURCES: &[(&str, &[Rule])] = &[
    (
        "hostPath",
        &[Rule::Required("path"), Rule::With(|errors, at| no_backsteps(errors, at.path("path"), at.text("path")))],
    ),
    ("gcePersistentDisk", &[Rule::Required("pdName"), Rule::Range("partition", 0, 255)]),
    ("awsElasticBlockStore", &[Rule::Required("volumeID"), Rule::Range("partition", 0, 255)]),
    ("glusterfs", &[Rule::Required("endpoints"), Rule::Required("path")]),
    ("flocker", &[]),
    ("nfs", NFS),
    ("rbd", &[Rule::Required("monitors"), Rule::Required("image")]),
    ("quobyte", &[Rule::Required("registry"), Rule::Required("volume")]),
    ("cephfs", &[Rule::Required("monitors")]),
    ("iscsi", &[Rule::Required("targetPortal"), Rule::Required("iqn"), Rule::Range("lun", 0, 255)]),
    ("cinder", &[Rule::Required("volumeID")]),
    ("fc", &[]),
    ("flexVolume", &[Rule::Required("driver")]),
    ("azureFile", &[Rule::Required("secretName"), Rule::Required("shareName")]),
    ("vsphereVolume", &[Rule::Required("volumePath")]),
    ("photonPersistentDisk", &[Rule::Required("pdID")]),
    ("portworxVolume", &[Rule::Required("volumeID")]),
    ("azureDisk", &[Rule::Required("diskName"), Rule::Required("diskURI")]),
    ("scaleIO", &[Rule::Required("gateway"), Rule::Required("system"), Rule::Required("volumeName")]),
    (
        "local",
        &[Rule::Required("path"), Rule::With(|errors, at| no_backsteps(errors, at.path("path"), at.text("path")))],
    ),
    ("storageos", &[Rule::Named("volumeName", forms::label), Rule::Formed("volumeNamespace", forms::label)]),
    ("csi", &[Rule::Required("driver"), Rule::Required("volumeHandle")]),
];

fn check_volume(errors: &mut Errors, spec: &At<'_>) {
    check(errors, spec, &[Rule::Required("accessModes")]);
    check_access_modes(errors, spec);
    let capacity = spec.object.map("capacity");
    check(errors, spec, &[Rule::Required("capacity")]);
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        errors.not_supported(spec.path("capacity"), capacity.clone(), &["storage"]);
    }
    for (name, amount) in quantities(capacity).filter(|(_, amount)| amount.is_zero() || Quantity::is_negative(*amount))
    {
        errors.invalid(spec.path("capacity").key(name), amount.to_string(), NOT_POSITIVE);
    }
    check(errors, spec, &[Rule::OneOf("persistentVolumeReclaimPolicy", RECLAIM)]);
    if let Some(affinity) = spec.enter("nodeAffinity") {
        match affinity.enter("required") {
            Some(required) => check_node_selector(errors, &required, true),
            None => errors.required(affinity.path("required"), "must specify required node constraints"),
        }
    }
    check_volume_source(errors, spec);
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        formed(errors, &spec.path("storageClassName"), class, forms::subdomain);
    }
    check(errors, spec, &[Rule::OneOf("volumeMode", VOLUME_MODES)]);
    if spec.object.has("volumeAttributesClassName") {
        match spec.text("volumeAttributesClassName") {
            "" => errors.required(spec.path("volumeAttributesClassName"), "an empty string is disallowed"),
            name => formed(errors, &spec.path("volumeAttributesClassName"), name, forms::subdomain),
        }
        if !spec.object.has("csi") {
            errors.required(spec.path("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn check_volume_source(errors: &mut Errors, spec: &At<'_>) {
    let mut found = false;
    for (source, rules) in SOURCES.iter().filter_map(|(kind, rules)| Some((spec.enter(kind)?, rules))) {
        if found {
            errors.forbidden(source.path, "may not specify more than 1 volume type");
        } else {
            check(errors, &source, rules);
        }
        found = true;
    }
    if !found {
        errors.required(spec.path.clone(), "must specify a volume type");
    }
    if spec.object.has("local") && !spec.object.has("nodeAffinity") {
        errors.required(spec.path("nodeAffinity"), "Local volume requires node affinity");
    }
    let root = spec.object.text("hostPath.path");
    if !root.is_empty() && root.chars().all(|c| c == '/') && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(spec.path("persistentVolumeReclaimPolicy"), detail);
    }
}

fn check_volume_update(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    let (after, before) = (new.map("spec"), old.map("spec"));
    let source = |spec: &Object| {
        let own = SOURCES.iter().filter_map(|(kind, _)| Some(((*kind).to_owned(), spec.get(*kind)?.clone())));
        own.collect::<Object>()
    };
    let (new_source, old_source) = (source(after), source(before));
    if !same_objects(&new_source, &old_source) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        let path = Path::root("spec").child("persistentvolumesource");
        errors.forbidden(path, format!("{detail}\n{}", diff(&old_source, &new_source)));
    }
    for field in ["volumeMode", "nodeAffinity"] {
        if (field == "volumeMode" || before.has(field)) && !same(after.get(field), before.get(field)) {
            errors.invalid(Path::root(field), after.get(field).cloned().unwrap_or_default(), IMMUTABLE);
        }
    }
}
