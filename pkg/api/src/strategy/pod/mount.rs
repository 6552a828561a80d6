//! Validation of mounts and block devices of containers.

use std::collections::BTreeSet;

use super::spec::{Pod, not_found};
use super::volume::{local_path, no_backsteps};
use crate::field::Errors;
use crate::strategy::rules::At;
use crate::tree::Tree;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: &[&str] = &["Disabled", "Enabled", "IfPossible"];

/// Checks `volumeMounts` and `volumeDevices`.
pub(super) fn check(errors: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    check_mounts(errors, container, pod);
    check_devices(errors, container, pod);
}

fn check_mounts(errors: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    let devices = |field: &'static str| container.object.objects("volumeDevices").map(move |device| device.text(field));
    let mut places = BTreeSet::new();
    for mount in container.each("volumeMounts") {
        let (name, place) = (mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            errors.required(mount.path("name"), "");
        }
        if !pod.volumes.contains_key(name) {
            not_found(errors, mount.path("name"), name, "");
        }
        if place.is_empty() {
            errors.required(mount.path("mountPath"), "");
        }
        if !places.insert(place) {
            errors.invalid(mount.path("mountPath"), place, "must be unique");
        }
        if devices("name").any(|other| other == name) {
            errors.invalid(mount.path("name"), name, "must not already exist in volumeDevices");
        }
        if devices("devicePath").any(|other| other == place) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.invalid(mount.path("mountPath"), place, detail);
        }
        check_sub_path(errors, container, &mount);
        check_propagation(errors, container, &mount);
    }
}

fn check_sub_path(errors: &mut Errors, container: &At<'_>, mount: &At<'_>) {
    let (path, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    let list = container.path("volumeMounts");
    if !path.is_empty() {
        local_path(errors, &list.child("subPath"), path);
    }
    if !expression.is_empty() {
        if !path.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(mount.path("subPathExpr"), expression, detail);
        }
        local_path(errors, &list.child("subPathExpr"), expression);
    }
}

fn check_propagation(errors: &mut Errors, container: &At<'_>, mount: &At<'_>) {
    let list = container.path("volumeMounts");
    let mode = mount.text("mountPropagation");
    if mount.object.has("mountPropagation") {
        if !PROPAGATIONS.contains(&mode) {
            errors.not_supported(list.child("mountPropagation"), mode, PROPAGATIONS);
        }
        if mode == "Bidirectional" && !container.object.is_true("securityContext.privileged") {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(list.child("mountPropagation"), detail);
        }
    }
    let path = list.child("recursiveReadOnly");
    match mount.text("recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.object.is_true("readOnly") {
                errors.forbidden(path.clone(), "may only be specified when readOnly is true");
            }
            if !matches!(mode, "" | "None") {
                errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(path, other, RECURSIVE),
    }
}

fn check_devices(errors: &mut Errors, container: &At<'_>, pod: &Pod<'_>) {
    let mounts = |field: &'static str| container.object.objects("volumeMounts").map(move |mount| mount.text(field));
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for device in container.each("volumeDevices") {
        let (name, place) = (device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            errors.required(device.path("name"), "");
        } else if !names.insert(name) {
            errors.invalid(device.path("name"), name, "must be unique");
        }
        match pod.volumes.get(name) {
            None => not_found(errors, device.path("name"), name, ""),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(device.path("name"), name, detail);
            }
            Some(_) => {}
        }
        if place.is_empty() {
            errors.required(device.path("devicePath"), "");
        }
        let mut backsteps = Errors::new();
        no_backsteps(&mut backsteps, device.path("devicePath"), place);
        if !backsteps.is_empty() {
            errors.invalid(device.path("devicePath"), place, "can not contain backsteps ('..')");
        } else if !places.insert(place) {
            errors.invalid(device.path("devicePath"), place, "must be unique");
        }
        if mounts("name").any(|other| other == name) {
            errors.invalid(device.path("name"), name, "must not already exist in volumeMounts");
        }
        if mounts("mountPath").any(|other| other == place) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.invalid(device.path("devicePath"), place, detail);
        }
    }
}
