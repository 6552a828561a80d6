//! Volumes, claims and their drivers.

use super::column::{Cell, Column, age, count, flag, name, text};
use super::text::plain;
use crate::Object;
use crate::tree::Tree;

/// Kinds and their columns.
pub(super) const KINDS: &[(&str, &str, &[Column])] = &[
    (
        "",
        "PersistentVolume",
        &[
            name(),
            text("Capacity", "How much it holds.", Cell::With(|volume| plain(volume.value("spec.capacity.storage")))),
            text("Access Modes", "How it can be mounted.", Cell::With(|volume| modes(volume, "spec.accessModes"))),
            text(
                "Reclaim Policy",
                "What becomes of it without its claim.",
                Cell::Text("spec.persistentVolumeReclaimPolicy", ""),
            ),
            text("Status", "Whether it is bound.", Cell::With(phase)),
            text("Claim", "What it is bound to.", Cell::With(claim)),
            text("StorageClass", "StorageClass of the pv", Cell::With(class)),
            text(
                "VolumeAttributesClass",
                "VolumeAttributesClass of the pv",
                Cell::Text("spec.volumeAttributesClassName", "<unset>"),
            ),
            text("Reason", "Why it is in that status.", Cell::Text("status.reason", "")),
            age(),
            text("VolumeMode", "Block or Filesystem.", Cell::Text("spec.volumeMode", "<unset>")).wide(),
        ],
    ),
    (
        "",
        "PersistentVolumeClaim",
        &[
            name(),
            text("Status", "Whether it is bound.", Cell::With(phase)),
            text("Volume", "What it is bound to.", Cell::Text("spec.volumeName", "")),
            text(
                "Capacity",
                "How much that holds.",
                Cell::With(|claim| bound(claim, |claim| plain(claim.value("status.capacity.storage")))),
            ),
            text(
                "Access Modes",
                "How it can be mounted.",
                Cell::With(|claim| bound(claim, |claim| modes(claim, "status.accessModes"))),
            ),
            text("StorageClass", "StorageClass of the pvc", Cell::With(class)),
            text(
                "VolumeAttributesClass",
                "VolumeAttributesClass of the pvc",
                Cell::Text("spec.volumeAttributesClassName", "<unset>"),
            ),
            age(),
            text("VolumeMode", "Block or Filesystem.", Cell::Text("spec.volumeMode", "<unset>")).wide(),
        ],
    ),
    (
        "storage.k8s.io",
        "StorageClass",
        &[
            text("Name", "Name of the class.", Cell::With(class_name)).naming(),
            text("Provisioner", "Who makes its volumes.", Cell::Text("provisioner", "")),
            text(
                "ReclaimPolicy",
                "What becomes of volumes without their claims.",
                Cell::Text("reclaimPolicy", "Delete"),
            ),
            text("VolumeBindingMode", "When volumes are made.", Cell::Text("volumeBindingMode", "Immediate")),
            text("AllowVolumeExpansion", "Whether volumes can grow.", Cell::Flag("allowVolumeExpansion", false)),
            age(),
        ],
    ),
    (
        "storage.k8s.io",
        "VolumeAttributesClass",
        &[name(), text("DriverName", "Whose attributes these are.", Cell::Text("driverName", "")), age()],
    ),
    (
        "storage.k8s.io",
        "VolumeAttachment",
        &[
            name(),
            text("Attacher", "Who attaches it.", Cell::Text("spec.attacher", "")),
            text("PV", "The volume.", Cell::Text("spec.source.persistentVolumeName", "")),
            text("Node", "Where to.", Cell::Text("spec.nodeName", "")),
            flag("Attached", "Whether it is.", Cell::Flag("status.attached", false)),
            age(),
        ],
    ),
    (
        "storage.k8s.io",
        "CSINode",
        &[
            name(),
            count("Drivers", "Drivers indicates the number of CSI drivers registered on the node", "spec.drivers"),
            age(),
        ],
    ),
    (
        "storage.k8s.io",
        "CSIDriver",
        &[
            name(),
            flag("AttachRequired", "Whether volumes are attached.", Cell::Flag("spec.attachRequired", true)),
            flag("PodInfoOnMount", "Whether it learns of pods.", Cell::Flag("spec.podInfoOnMount", false)),
            flag("StorageCapacity", "Whether it reports capacity.", Cell::Flag("spec.storageCapacity", false)),
            text("TokenRequests", "Whose tokens it gets.", Cell::With(token_requests)),
            flag("RequiresRepublish", "Whether mounts are repeated.", Cell::Flag("spec.requiresRepublish", false)),
            text("Modes", "Kinds of volumes.", Cell::Joined("spec.volumeLifecycleModes", "<none>")),
            age(),
        ],
    ),
    (
        "storage.k8s.io",
        "CSIStorageCapacity",
        &[
            name(),
            text("StorageClassName", "Class of the storage.", Cell::Text("storageClassName", "")),
            text("Capacity", "How much there is.", Cell::Text("capacity", "<unset>")),
        ],
    ),
];

fn modes(object: &Object, path: &str) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| object.texts(path).any(|own| own == mode);
    SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn phase(object: &Object) -> String {
    if object.has("metadata.deletionTimestamp") { "Terminating".into() } else { object.text("status.phase").into() }
}

fn claim(volume: &Object) -> String {
    let reference = volume.object("spec.claimRef");
    reference.map_or_else(String::new, |claim| format!("{}/{}", claim.text("namespace"), claim.text("name")))
}

/// What is known of a claim only once it is bound.
fn bound(claim: &Object, what: fn(&Object) -> String) -> String {
    if claim.text("spec.volumeName").is_empty() { String::new() } else { what(claim) }
}

fn annotation<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.map("metadata.annotations").get(key)?.as_str()
}

fn class(object: &Object) -> String {
    let beta = annotation(object, "volume.beta.kubernetes.io/storage-class");
    beta.unwrap_or_else(|| object.text("spec.storageClassName")).into()
}

fn class_name(class: &Object) -> String {
    const DEFAULT: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let is_default = DEFAULT.iter().any(|key| annotation(class, key) == Some("true"));
    format!("{}{}", class.text("metadata.name"), if is_default { " (default)" } else { "" })
}

fn token_requests(driver: &Object) -> String {
    if !driver.has("spec.tokenRequests") {
        return "<unset>".into();
    }
    driver.objects("spec.tokenRequests").map(|request| request.text("audience")).collect::<Vec<_>>().join(",")
}
