//! Events exist in two groups and are stored once, as core Events. Upstream: `pkg/apis/events/v1/conversion.go`.

use crate::Object;
use crate::kind::Convert;

pub(super) const CONVERT: Convert = Convert { from_stored, to_stored };

/// The fields whose names differ: core, `events.k8s.io`.
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn from_stored(event: &mut Object) {
    for (core, events) in FIELDS {
        rename(event, core, events);
    }
}

fn to_stored(event: &mut Object) {
    for (core, events) in FIELDS {
        rename(event, events, core);
    }
}

fn rename(event: &mut Object, from: &str, to: &str) {
    if let Some(value) = event.remove(from) {
        event.insert(to.into(), value);
    }
}
