//! Events, as both groups that have them store them.

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::row::Row;
use crate::strategy::rules::formed;
use crate::strategy::{Context, forms};
use crate::tree::Tree;

/// Events of the core group.
pub(in crate::strategy) static EVENT: Row = Row { check: check_event, create_on_update: true, ..Row::PLAIN };

/// Events of `events.k8s.io`, in the stored form: their writers know the newer fields and use no others.
pub(in crate::strategy) static NEW_EVENT: Row = Row {
    check: check_event,
    check_create: check_new,
    check_update: |_, errors, new, old| {
        if !crate::tree::same(new.get("series"), old.get("series")) {
            check_series(errors, new);
        }
    },
    immutable: &[
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ],
    create_on_update: true,
    ..Row::PLAIN
};

/// Fields of a new event with the most bytes they may have.
const TEXTS: [(&str, usize); 3] = [("reportingInstance", 128), ("action", 128), ("reason", 128)];
const MESSAGE: usize = 1024;

/// An event lives where its object lives; those of objects without a namespace live in `default`.
fn check_event(_cx: &Context<'_>, errors: &mut Errors, event: &Object) {
    let (namespace, about) = (event.text("metadata.namespace"), event.text("involvedObject.namespace"));
    let is_new = event.has("eventTime");
    let fits = match about {
        "" => namespace == "default" || is_new && namespace == "kube-system",
        about => is_new || about == namespace,
    };
    if !fits {
        let path = Path::root("involvedObject").child("namespace");
        errors.invalid(path, about, "does not match event.namespace");
    }
    if !is_new {
        return;
    }
    let component = event.text("reportingComponent");
    if component.is_empty() {
        errors.required(Path::root("reportingComponent"), "");
    }
    formed(errors, &Path::root("reportingComponent"), component, forms::qualified);
    for (field, most) in TEXTS {
        if event.text(field).is_empty() {
            errors.required(Path::root(field), "");
        }
        check_length(errors, event, field, most);
    }
    check_length(errors, event, "message", MESSAGE);
}

fn check_length(errors: &mut Errors, event: &Object, field: &str, most: usize) {
    if event.text(field).len() > most {
        errors.invalid(Path::root(field), "", format!("can have at most {most} characters"));
    }
}

fn check_new(_cx: &Context<'_>, errors: &mut Errors, event: &Object) {
    check_series(errors, event);
    if !event.has("eventTime") {
        errors.required(Path::root("eventTime"), "");
    }
    let kind = event.text("type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(Path::root("type"), "", format!("has invalid value: {kind}"));
    }
    for field in ["firstTimestamp", "lastTimestamp"].into_iter().filter(|field| event.has(field)) {
        errors.invalid(Path::root(field), "", "needs to be unset");
    }
    if event.number("count") != 0 {
        errors.invalid(Path::root("count"), "", "needs to be unset");
    }
    if !event.text("source.component").is_empty() || !event.text("source.host").is_empty() {
        errors.invalid(Path::root("source"), "", "needs to be unset");
    }
}

fn check_series(errors: &mut Errors, event: &Object) {
    let Some(series) = event.object("series") else { return };
    if series.number("count") < 2 {
        errors.invalid(Path::root("series.count"), "", "should be at least 2");
    }
    if series.text("lastObservedTime").is_empty() {
        errors.required(Path::root("series.lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;
    use serde_json::{Value, json};

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        let new = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}, "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "x.io/y", "reportingInstance": "i",
            "action": "do", "reason": "r"});
        let mut counted = new.clone();
        counted["count"] = 1.into();
        for (row, event, text) in [
            (&EVENT, json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}}), ""),
            (
                &EVENT,
                json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}),
                "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace",
            ),
            (&NEW_EVENT, new, ""),
            (&NEW_EVENT, counted, "count: Invalid value: \"\": needs to be unset"),
        ] {
            let Value::Object(event) = event else { unreachable!() };
            let errors = row.validate(&cx, &event);
            let said = if errors.is_empty() { String::new() } else { errors.to_string() };
            assert_eq!(said, text, "{event:?}");
        }
    }
}
