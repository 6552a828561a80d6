//! What a delete does to an object: a pure function of the object, the options and the time.

use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use serde_json::{Value, json};

use crate::registry::{Resource, metadata};
use crate::request::{DeleteOptions, Propagation};

/// The garbage collector lets the dependents go first.
const FOREGROUND: &str = "foregroundDeletion";

/// The garbage collector makes orphans of the dependents first.
const ORPHAN: &str = "orphan";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing: it is already on its way.
    Wait,
    /// Write this: it goes later.
    Mark(Object),
    /// Remove it; this is what it looked like at the end.
    Remove(Object),
}

/// Options that contradict each other.
pub(super) fn check(options: &DeleteOptions) -> Result<()> {
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        let text = "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"propagationPolicy\": \
                    orphanDependents and deletionPropagation cannot be both set";
        return Err(Status::failure(422, "Invalid", text));
    }
    Ok(())
}

/// Decides. Upstream spreads this over `BeforeDelete`, `updateForGracefulDeletionAndFinalizers` and the namespaces' own
/// `Delete`; where upstream writes a zero grace period first and deletes then, one step does both here.
pub(super) fn plan(resource: &Resource, old: &Object, options: &DeleteOptions, now: jiff::Timestamp) -> Plan {
    if resource.kind.group.is_empty() && resource.kind.plural == "namespaces" && has_finalizers(old, "spec") {
        return namespace(resource, old, options, now);
    }
    let mut object = old.clone();
    // Upstream takes a negative period for one second.
    let requested = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let deleting = deletion_time(old);
    let graceful = match deleting {
        Some(at) => match shorten(&mut object, at, requested, now) {
            Shortened::Not => return Plan::Wait,
            Shortened::To(seconds) => Some(seconds),
            Shortened::Over => None,
        },
        None => resource.strategy.grace_period(old, requested).inspect(|seconds| {
            set_deletion(&mut object, later(now, *seconds), *seconds);
            bump_generation(&mut object);
        }),
    };
    set_finalizers(resource, &mut object, options);
    let pending = has_finalizers(&object, "metadata");
    if graceful.is_none() && pending {
        mark(&mut object, now);
    }
    match (pending, graceful) {
        (true, _) if object == *old => Plan::Wait,
        (true, _) => Plan::Mark(object),
        (false, Some(seconds)) if seconds > 0 => Plan::Mark(object),
        (false, _) => Plan::Remove(object),
    }
}

/// A namespace waits until its controller has emptied it and taken away `spec.finalizers`.
fn namespace(resource: &Resource, old: &Object, options: &DeleteOptions, now: jiff::Timestamp) -> Plan {
    if deletion_time(old).is_some() {
        return Plan::Wait;
    }
    let mut object = old.clone();
    object.meta_mut().insert("deletionTimestamp".into(), metadata::timestamp(now).into());
    object.section("status").insert("phase".into(), "Terminating".into());
    set_finalizers(resource, &mut object, options);
    Plan::Mark(object)
}

enum Shortened {
    /// The period that runs is not longer than what is asked for.
    Not,
    /// It ends earlier now.
    To(i64),
    /// There is none, or it is over.
    Over,
}

/// The grace period of an object that is being deleted can only be shortened.
fn shorten(object: &mut Object, at: jiff::Timestamp, requested: Option<i64>, now: jiff::Timestamp) -> Shortened {
    let running = object.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    let running = if running < 0 { 1 } else { running };
    let Some(requested) = requested.filter(|_| running > 0) else {
        return if running == 0 { Shortened::Over } else { Shortened::Not };
    };
    if requested >= running {
        return Shortened::Not;
    }
    let end = later(later(at, -running), requested);
    let (end, seconds) = match end {
        end if end >= now => (end, requested),
        _ => (now, requested.min(1)),
    };
    set_deletion(object, end, seconds);
    Shortened::To(seconds)
}

/// Upstream's `markAsDeleting`: for kinds without a grace period that have finalizers.
fn mark(object: &mut Object, now: jiff::Timestamp) {
    match deletion_time(object) {
        None => {
            bump_generation(object);
            set_deletion(object, now, 0);
        }
        Some(at) if at > now => set_deletion(object, now, 0),
        Some(_) => {
            object.meta_mut().insert("deletionGracePeriodSeconds".into(), 0.into());
        }
    }
}

fn set_deletion(object: &mut Object, at: jiff::Timestamp, seconds: i64) {
    let metadata = object.meta_mut();
    metadata.insert("deletionTimestamp".into(), metadata::timestamp(at).into());
    metadata.insert("deletionGracePeriodSeconds".into(), seconds.into());
}

fn bump_generation(object: &mut Object) {
    let generation = object.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
    if generation > 0 {
        object.meta_mut().insert("generation".into(), (generation + 1).into());
    }
}

/// Asks the garbage collector for what the options say about dependents.
fn set_finalizers(resource: &Resource, object: &mut Object, options: &DeleteOptions) {
    let own: Vec<Value> = object.at(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |name: &str| own.iter().any(|finalizer| finalizer == name);
    let policy = match (options.orphan_dependents, options.propagation_policy) {
        (Some(true), _) => Propagation::Orphan,
        (Some(false), _) => Propagation::Background,
        (None, Some(policy)) => policy,
        (None, None) if has(ORPHAN) => Propagation::Orphan,
        (None, None) if has(FOREGROUND) => Propagation::Foreground,
        (None, None) if resource.strategy.orphans_by_default() => Propagation::Orphan,
        (None, None) => Propagation::Background,
    };
    let wants = |name: &str| match name {
        ORPHAN => policy == Propagation::Orphan,
        FOREGROUND => policy == Propagation::Foreground,
        _ => true,
    };
    let mut wanted: Vec<Value> = own.iter().filter(|name| wants(name.as_str().unwrap_or_default())).cloned().collect();
    let missing = [ORPHAN, FOREGROUND].into_iter().filter(|name| wants(name) && !has(name));
    wanted.extend(missing.map(|name| json!(name)));
    if wanted.is_empty() {
        object.meta_mut().remove("finalizers");
    } else {
        object.meta_mut().insert("finalizers".into(), wanted.into());
    }
}

fn has_finalizers(object: &Object, section: &str) -> bool {
    object.at(&[section, "finalizers"]).and_then(Value::as_array).is_some_and(|finalizers| !finalizers.is_empty())
}

fn deletion_time(object: &Object) -> Option<jiff::Timestamp> {
    object.meta("deletionTimestamp").parse().ok()
}

fn later(time: jiff::Timestamp, seconds: i64) -> jiff::Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests;
