//! `resource.k8s.io`: dynamic resource allocation.

use super::fill::Fill::{self, Drop, Each, In, Make, With, Zero};
use super::fill::Fixed::Text;
use super::forms;
use super::row::{METADATA, Row, SPEC};
use super::rules::{At, NOT_POSITIVE, Rule, check};
use crate::Object;
use crate::field::Errors;
use crate::tree::Tree;

const REQUEST: &[Fill] = &[Zero("allocationMode", Text("ExactCount")), With(one), Drop(&["adminAccess"])];
const DEVICES: &[Fill] =
    &[In(&["devices"], &[Each(&["requests"], &[In(&["exactly"], REQUEST), Each(&["firstAvailable"], REQUEST)])])];

fn one(request: &mut Object) {
    if request.text("allocationMode") == "ExactCount" && request.number("count") == 0 {
        request.insert("count".into(), 1.into());
    }
}

/// ResourceClaims.
pub(super) static CLAIM: Row = Row {
    fills: &[Make("spec", DEVICES)],
    rules: &[Rule::In("spec", CLAIM_RULES)],
    immutable: &["spec"],
    status_restores: METADATA,
    ..Row::PLAIN
};

/// ResourceClaimTemplates.
pub(super) static CLAIM_TEMPLATE: Row = Row {
    fills: &[Make("spec", &[Make("spec", DEVICES)])],
    rules: &[Rule::In("spec", &[Rule::In("spec", CLAIM_RULES)])],
    immutable: &["spec"],
    ..Row::PLAIN
};

/// DeviceClasses, ResourceSlices and DeviceTaintRules.
pub(super) static COUNTED: Row = Row { generation: SPEC, status_restores: METADATA, ..Row::PLAIN };

/// The frame of a claim; its selectors are expressions, which are checked by who evaluates them.
const CLAIM_RULES: &[Rule] =
    &[Rule::In("devices", &[Rule::Each("requests", &[Rule::Named("name", forms::label), Rule::With(check_request)])])];

fn check_request(errors: &mut Errors, request: &At<'_>) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    match (request.enter("exactly"), request.object.list("firstAvailable").is_empty()) {
        (None, true) => errors.required(request.path.clone(), ONE),
        (Some(_), false) => {
            let detail = format!("{ONE}, but multiple fields are set");
            errors.invalid(request.path.clone(), serde_json::Value::Null, detail);
        }
        (Some(exactly), true) => check_devices(errors, &exactly),
        (None, false) => {
            for other in request.each("firstAvailable") {
                check(errors, &other, &[Rule::Named("name", forms::label)]);
                check_devices(errors, &other);
            }
        }
    }
}

fn check_devices(errors: &mut Errors, at: &At<'_>) {
    check(errors, at, &[Rule::Named("deviceClassName", forms::subdomain)]);
    let count = at.object.number("count");
    match at.text("allocationMode") {
        "All" if count != 0 => {
            errors.invalid(at.path("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(at.path("count"), count, NOT_POSITIVE),
        "All" | "ExactCount" => {}
        other => errors.not_supported(at.path("allocationMode"), other, &["All", "ExactCount"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{Context, Strategy};
    use crate::user::UserInfo;
    use serde_json::{Value, json};

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        for (request, text) in [
            (json!({"name": "gpu", "exactly": {"deviceClassName": "a.b"}}), ""),
            (
                json!({"name": "gpu"}),
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ),
            (json!({"name": "gpu", "exactly": {}}), "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        ] {
            let Value::Object(mut claim) = json!({"spec": {"devices": {"requests": [request]}}}) else {
                unreachable!()
            };
            CLAIM.default(&mut claim);
            let errors = CLAIM.validate(&cx, &claim);
            let said = if errors.is_empty() { String::new() } else { errors.to_string() };
            assert_eq!(said, text, "{claim:?}");
        }
    }
}
