//! What `metadata` must look like, on every kind: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use serde_json::Value;

use crate::field::{Errors, Path, Reason};
use crate::kind::Kind;
use crate::object::Meta;
use crate::strategy::NameRule;
use crate::{Object, forms};

/// All annotations together, keys and values.
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;

/// A field manager's name, and the name of a subresource in `managedFields`.
const MOST_MANAGER_BYTES: usize = 128;
const MOST_SUBRESOURCE_BYTES: usize = 256;

/// Finalizers that built-in kinds may have without a domain.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", ORPHAN, FOREGROUND];
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Errors of an object's metadata on its own. The name of a new one has been generated if need be; that of an old one was
/// checked when it was new, so that [`NameRule::PathSegment`] is enough for a change.
#[must_use]
pub fn validate(kind: &Kind, rule: NameRule, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::root("metadata");
    let (prefix, name, namespace) = (object.meta("generateName"), object.name(), object.namespace());
    if !prefix.is_empty() {
        for fault in name_faults(rule, &masked(prefix)) {
            errors.invalid(path.child("generateName"), prefix, fault);
        }
    }
    if name.is_empty() {
        errors.required(path.child("name"), "name or generateName is required");
    } else {
        name_faults(rule, name).into_iter().for_each(|fault| errors.invalid(path.child("name"), name, fault));
    }
    match (kind.namespaced, namespace) {
        (true, "") => errors.required(path.child("namespace"), ""),
        (true, _) => {
            forms::label(namespace)
                .into_iter()
                .for_each(|fault| errors.invalid(path.child("namespace"), namespace, fault));
        }
        (false, "") => {}
        (false, _) => errors.forbidden(path.child("namespace"), "not allowed on this type"),
    }
    let generation = generation(object);
    if generation < 0 {
        errors.invalid(path.child("generation"), generation, "must be greater than or equal to 0");
    }
    check_labels(&mut errors, map(object, "labels"), &path.child("labels"));
    check_annotations(&mut errors, map(object, "annotations"), &path.child("annotations"));
    check_owners(&mut errors, list(object, "ownerReferences"), &path.child("ownerReferences"));
    check_managed_fields(&mut errors, list(object, "managedFields"), &path.child("managedFields"));
    check_finalizers(&mut errors, kind, object, &path.child("finalizers"));
    errors
}

/// Errors of a change of metadata, in addition to those of [`validate`].
#[must_use]
pub fn validate_update(new: &Object, old: &Object) -> Errors {
    const IMMUTABLE: &[&str] =
        &["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    let mut errors = Errors::new();
    let path = Path::root("metadata");
    if !old.meta("deletionTimestamp").is_empty() {
        check_no_new_finalizers(&mut errors, new, old, path.child("finalizers"));
    }
    if new.meta("resourceVersion").is_empty() {
        errors.invalid(path.child("resourceVersion"), "", "must be specified for an update");
    }
    if generation(new) < generation(old) {
        errors.invalid(path.child("generation"), generation(new), "must not be decremented");
    }
    for field in IMMUTABLE {
        let value = |object: &Object| object.at(&["metadata", field]).filter(|value| !is_zero(value)).cloned();
        if value(new) != value(old) {
            errors.invalid(path.child(field), value(new).unwrap_or_default(), "field is immutable");
        }
    }
    errors
}

fn is_zero(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

fn generation(object: &Object) -> i64 {
    object.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or_default()
}

/// What is wrong with a name.
#[must_use]
pub fn name_faults(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => forms::subdomain(name),
        NameRule::Label => forms::label(name),
        NameRule::Label1035 => forms::label1035(name),
        NameRule::PathSegment => forms::path_segment(name),
        NameRule::IpAddress => forms::canonical_ip(name),
    }
}

/// A prefix as it is checked: a dash at its end is fine, because something follows.
fn masked(prefix: &str) -> String {
    let kept = prefix.strip_suffix('-').filter(|kept| !kept.is_empty());
    kept.map_or_else(|| prefix.to_owned(), |kept| kept.chars().take(kept.chars().count() - 1).collect::<String>() + "a")
}

fn map<'a>(object: &'a Object, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = object.at(&["metadata", field]).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn list<'a>(object: &'a Object, field: &str) -> &'a [Value] {
    object.at(&["metadata", field]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Errors of a map of labels.
pub fn check_labels<'a>(errors: &mut Errors, labels: impl Iterator<Item = (&'a String, &'a str)>, path: &Path) {
    for (key, value) in labels {
        forms::qualified(key).into_iter().for_each(|fault| errors.invalid(path.clone(), key.as_str(), fault));
        forms::label_value(value).into_iter().for_each(|fault| errors.invalid(path.clone(), value, fault));
    }
}

fn check_annotations<'a>(errors: &mut Errors, annotations: impl Iterator<Item = (&'a String, &'a str)>, path: &Path) {
    let mut size = 0;
    for (key, value) in annotations {
        size += key.len() + value.len();
        // The case of a key does not matter here, unlike that of a label.
        let faults = forms::qualified(&key.to_ascii_lowercase());
        faults.into_iter().for_each(|fault| errors.invalid(path.clone(), key.as_str(), fault));
    }
    if size > MOST_ANNOTATION_BYTES {
        too_long(errors, path.clone(), MOST_ANNOTATION_BYTES);
    }
}

fn too_long(errors: &mut Errors, path: Path, most: usize) {
    errors.push(Reason::TooLong, path, None, format!("may not be more than {most} bytes"));
}

fn check_owners(errors: &mut Errors, owners: &[Value], path: &Path) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.rsplit('/').next().is_none_or(str::is_empty) {
            errors.invalid(path.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                errors.invalid(path.child(field), "", "must not be empty");
            }
        }
        if (api_version, kind) == ("v1", "Event") {
            errors.invalid(path.clone(), owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.get("controller") != Some(&Value::Bool(true)) {
            continue;
        }
        let own = format!("{kind}/{}", text("name"));
        match &controller {
            None => controller = Some(own),
            Some(first) => {
                let fault = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {own}"
                );
                errors.invalid(path.clone(), owners.to_vec(), fault);
            }
        }
    }
}

fn check_finalizers(errors: &mut Errors, kind: &Kind, object: &Object, path: &Path) {
    let names: Vec<&str> = list(object, "finalizers").iter().filter_map(Value::as_str).collect();
    for name in &names {
        forms::qualified(name).into_iter().for_each(|fault| errors.invalid(path.clone(), *name, fault));
    }
    if names.contains(&ORPHAN) && names.contains(&FOREGROUND) {
        let fault = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.invalid(path.clone(), names.clone(), fault);
    }
    // Custom resources, which are the ones whose items have a type, may be named as they like.
    for (index, name) in names.iter().enumerate().filter(|_| !kind.item_typemeta) {
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(name) {
            let fault = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path.index(index), *name, fault);
        }
    }
}

fn check_no_new_finalizers(errors: &mut Errors, new: &Object, old: &Object, path: Path) {
    let known = list(old, "finalizers");
    let mut added: Vec<&str> =
        list(new, "finalizers").iter().filter(|name| !known.contains(name)).filter_map(Value::as_str).collect();
    added.sort_unstable();
    if !added.is_empty() {
        let added: Vec<_> = added.iter().map(|name| format!("{name:?}")).collect();
        let fault = "no new finalizers can be added if the object is being deleted, found new finalizers";
        errors.forbidden(path, format!("{fault} []string{{{}}}", added.join(", ")));
    }
}

fn check_managed_fields(errors: &mut Errors, entries: &[Value], path: &Path) {
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        if !matches!(text("operation"), "Apply" | "Update") {
            errors.invalid(path.child("operation"), text("operation"), "must be `Apply` or `Update`");
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            errors.invalid(path.child("fieldsType"), text("fieldsType"), "must be `FieldsV1`");
        }
        if text("manager").len() > MOST_MANAGER_BYTES {
            too_long(errors, path.child("manager"), MOST_MANAGER_BYTES);
        }
        if text("subresource").len() > MOST_SUBRESOURCE_BYTES {
            too_long(errors, path.child("subresource"), MOST_SUBRESOURCE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests;
