//! `storage.k8s.io`.

use super::fill::Fill::{Absent, Drop, Make, Zero};
use super::fill::Fixed::{Flag, Text, Texts};
use super::row::{METADATA, Row, SPEC};

/// StorageClasses.
pub(super) static STORAGE_CLASS: Row = Row {
    fills: &[
        Absent("reclaimPolicy", Text("Delete")),
        Absent("volumeBindingMode", Text("Immediate")),
        Drop(&["mountOptions", "allowedTopologies"]),
    ],
    ..Row::PLAIN
};

/// VolumeAttachments.
pub(super) static VOLUME_ATTACHMENT: Row = Row { needs_revision: true, status_restores: METADATA, ..Row::PLAIN };

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
    needs_revision: true,
    generation: SPEC,
    ..Row::PLAIN
};

/// CSINodes.
pub(super) static CSI_NODE: Row = Row { needs_revision: true, ..Row::PLAIN };

/// CSIStorageCapacities.
pub(super) static CSI_STORAGE_CAPACITY: Row = Row { needs_revision: true, ..Row::PLAIN };

/// VolumeAttributesClasses.
pub(super) static VOLUME_ATTRIBUTES_CLASS: Row = Row::PLAIN;
