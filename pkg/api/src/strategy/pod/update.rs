//! What of a pod may change: upstream's `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate` and `ValidatePodResize`.

use serde_json::Value;

use super::{container, place, qos};
use crate::Object;
use crate::field::{Errors, Path};
use crate::object::Meta;
use crate::strategy::diff::diff;
use crate::strategy::rules::At;
use crate::tree::{Tree, object_mut, objects_mut, same, same_objects};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks annotations that are facts about a pod and not wishes.
pub(super) fn check_annotations(errors: &mut Errors, new: &Object, old: &Object) {
    let path = Path::root("metadata").child("annotations");
    let (before, after) = (old.map("metadata.annotations"), new.map("metadata.annotations"));
    if let Some(value) = before.get(super::MIRROR) {
        if after.get(super::MIRROR) != Some(value) {
            errors.forbidden(path.key(super::MIRROR), "may not remove or update mirror pod annotation");
        }
    } else if after.contains_key(super::MIRROR) {
        errors.forbidden(path.key(super::MIRROR), "may not add mirror pod annotation");
    }
}

/// Checks an update of a pod itself.
pub(super) fn check(errors: &mut Errors, new: &Object, old: &Object) {
    check_annotations(errors, new, old);
    let path = Path::root("spec");
    let (after, before) = (At { path: path.clone(), object: new.map("spec") }, At { path, object: old.map("spec") });
    for list in ["containers", "initContainers"] {
        if after.object.list(list).len() != before.object.list(list).len() {
            return errors.forbidden(after.path(list), "pod updates may not add or remove containers");
        }
        after.each(list).for_each(|one| container::check_image(errors, &one));
    }
    check_deadline(errors, &after, before.object);
    place::check_added_tolerations(errors, &after, &before);
    place::check_removed_gates(errors, &after, &before);
    if same_objects(after.object, before.object) {
        return;
    }
    let munged = munge(errors, &after, before.object);
    if !same_objects(&munged, before.object) {
        let detail =
            format!("pod updates may not change fields other than {UPDATABLE}\n{}", diff(before.object, &munged));
        errors.forbidden(after.path, detail);
    }
}

fn check_deadline(errors: &mut Errors, new: &At<'_>, old: &Object) {
    const FIELD: &str = "activeDeadlineSeconds";
    match (new.object.int(FIELD), old.int(FIELD)) {
        (Some(new_seconds), Some(old_seconds)) if old_seconds < new_seconds => {
            errors.invalid(new.path(FIELD), new_seconds, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(new.path(FIELD), Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

/// The new spec with everything that may change set back: what is left must be the old one.
fn munge(errors: &mut Errors, new: &At<'_>, old: &Object) -> Object {
    let mut munged = new.object.clone();
    for list in ["containers", "initContainers"] {
        let images: Vec<_> = old.objects(list).map(|one| one.get("image").cloned().unwrap_or_default()).collect();
        for (one, image) in objects_mut(&mut munged, list).zip(images) {
            one.insert("image".into(), image);
        }
    }
    let restore = |munged: &mut Object, field: &str| match old.get(field) {
        Some(value) => drop(munged.insert(field.into(), value.clone())),
        None => drop(munged.remove(field)),
    };
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(&mut munged, field);
    }
    const GRACE: &str = "terminationGracePeriodSeconds";
    if old.number(GRACE) < 0 && munged.int(GRACE) == Some(1) {
        restore(&mut munged, GRACE);
    }
    if !old.list("schedulingGates").is_empty() {
        check_gated(errors, new, old);
        restore(&mut munged, "nodeSelector");
        restore_node_affinity(&mut munged, old);
    }
    munged
}

/// A pod that waits at a gate may be given more conditions on its node, never fewer.
fn check_gated(errors: &mut Errors, new: &At<'_>, old: &Object) {
    let selector = new.object.map("nodeSelector");
    if old.map("nodeSelector").iter().any(|(key, value)| selector.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(new.path("nodeSelector"), selector.clone(), detail);
    }
    const TERMS: &str = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (before, after) = (old.list(TERMS), new.object.list(TERMS));
    if !before.is_empty() && before.len() != after.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(new.path(TERMS), after.to_vec(), detail);
    }
    for (index, (before, after)) in before.iter().zip(after).enumerate() {
        let (Some(before), Some(term)) = (before.as_object(), after.as_object()) else { continue };
        let extends = |field: &str| {
            let (old, new) = (before.list(field), term.list(field));
            old.len() <= new.len() && old.iter().zip(new).all(|(old, new)| same(Some(old), Some(new)))
        };
        let was_empty = before.list("matchExpressions").is_empty() && before.list("matchFields").is_empty();
        let is_empty = term.list("matchExpressions").is_empty() && term.list("matchFields").is_empty();
        if was_empty && !is_empty || !extends("matchExpressions") || !extends("matchFields") {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.invalid(new.path(TERMS).index(index), after.clone(), detail);
        }
    }
}

fn restore_node_affinity(munged: &mut Object, old: &Object) {
    match old.value("affinity.nodeAffinity") {
        Some(own) => drop(munged.section("affinity").insert("nodeAffinity".into(), own.clone())),
        None => {
            if let Some(affinity) = object_mut(munged, "affinity") {
                affinity.remove("nodeAffinity");
                if affinity.is_empty() && !old.has("affinity") {
                    munged.remove("affinity");
                }
            }
        }
    }
}

/// Checks an update through `ephemeralcontainers`.
pub(super) fn check_ephemeral(errors: &mut Errors, new: &Object, old: &Object) {
    check_annotations(errors, new, old);
    if old.map("metadata.annotations").contains_key(super::MIRROR) {
        return errors.forbidden(Path::root(""), "static pods do not support ephemeral containers");
    }
    let path = Path::root("spec").child("ephemeralContainers");
    for one in old.objects("spec.ephemeralContainers") {
        let name = one.text("name");
        match new.objects("spec.ephemeralContainers").find(|other| other.text("name") == name) {
            None => {
                errors.forbidden(path.clone(), format!("existing ephemeral containers {name:?} may not be removed\n"))
            }
            Some(other) if !same_objects(one, other) => {
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{}", diff(one, other));
                errors.forbidden(path.clone(), detail);
            }
            Some(_) => {}
        }
    }
}

/// Checks an update through `resize`: only CPU and memory of containers that keep their names and order.
pub(super) fn check_resize(errors: &mut Errors, new: &Object, old: &Object) {
    if old.map("metadata.annotations").contains_key(super::MIRROR) {
        return errors.forbidden(Path::root(""), "static pods cannot be resized");
    }
    let path = Path::root("spec");
    if old.text("status.qosClass") != qos::class(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.invalid(path.clone(), new.text("status.qosClass"), detail);
    }
    if new.has("spec.resources") || old.has("spec.resources") {
        let detail = "resize of pods with pod-level resources is forbidden when \
                      InPlacePodLevelResourcesVerticalScalingEnabled feature gate is disabled";
        errors.forbidden(Path::root(""), detail);
    }
    let (after, before) = (new.map("spec"), old.map("spec"));
    let mut moved = false;
    for list in ["containers", "initContainers"] {
        if after.list(list).len() != before.list(list).len() {
            moved = true;
            errors.forbidden(path.child(list), format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (index, (one, other)) in after.objects(list).zip(before.objects(list)).enumerate() {
            if one.text("name") != other.text("name") {
                moved = true;
                let path = path.child(list).index(index).child("name");
                errors.forbidden(path, format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
    if !moved {
        check_resized(errors, &path, after, before);
    }
}

fn check_resized(errors: &mut Errors, path: &Path, after: &Object, before: &Object) {
    let mut munged = after.clone();
    for (list, detail) in [
        ("initContainers", "only cpu and memory resources for sidecar containers are mutable"),
        ("containers", "only cpu and memory resources are mutable"),
    ] {
        for (index, (one, old)) in objects_mut(&mut munged, list).zip(before.objects(list)).enumerate() {
            if list == "initContainers" && old.text("restartPolicy") != "Always" {
                if !same_objects(one, old) {
                    errors.forbidden(path.clone(), "resources for non-sidecar init containers are immutable");
                }
                continue;
            }
            let own = path.child(list).index(index).child("resources");
            for kind in ["requests", "limits"] {
                let (new, old) = (one.map("resources").map(kind).clone(), old.map("resources").map(kind));
                if old.keys().any(|name| !new.contains_key(name)) {
                    errors.forbidden(own.child(kind), format!("resource {kind} cannot be removed"));
                }
                let list = one.section("resources").section(kind);
                for name in ["cpu", "memory"] {
                    match old.get(name) {
                        Some(amount) => drop(list.insert(name.into(), amount.clone())),
                        None => drop(list.remove(name)),
                    }
                }
                if list.is_empty() && old.is_empty() {
                    one.section("resources").remove(kind);
                }
            }
            if !same_objects(one, old) {
                errors.forbidden(path.clone(), detail);
            }
            one.clone_from(old);
        }
    }
    if errors.is_empty() && !same_objects(&munged, before) {
        errors.forbidden(path.clone(), "only cpu and memory resources are mutable");
    }
}
