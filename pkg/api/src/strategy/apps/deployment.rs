//! Deployments.

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::Context;
use crate::strategy::fill::Fill::{self, Absent, Make, With, Zero};
use crate::strategy::fill::Fixed::{Int, Text};
use crate::strategy::fill::fill;
use crate::strategy::pod::{TEMPLATE, check_lasting, check_selector, keep_selector, warn_of_template};
use crate::strategy::row::Row;
use crate::strategy::rules::{At, Rule, check};
use crate::tree::{Tree, same};

use super::{at_most_all, check_counts, int_or_percent, is_zero_share};

/// Deployments.
pub(in crate::strategy) static DEPLOYMENT: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Absent("replicas", Int(1)),
            Make("strategy", &[Zero("type", Text("RollingUpdate")), With(rolling_update)]),
            Absent("revisionHistoryLimit", Int(10)),
            Absent("progressDeadlineSeconds", Int(600)),
            Make("template", TEMPLATE),
        ],
    )],
    generation: Some(|new, old| {
        !same(new.get("spec"), old.get("spec"))
            || !same(new.value("metadata.annotations"), old.value("metadata.annotations"))
    }),
    check: check_deployment,
    check_update: |_, errors, new, old| keep_selector(errors, new, old),
    check_status: |errors, new, old| check_counts(errors, new, old, COUNTS),
    status_restores: &["labels"],
    warn: |new, old| warn_of_template(new, old, "spec.template"),
    ..Row::PLAIN
};

fn rolling_update(strategy: &mut Object) {
    const ROLLING: &[Fill] =
        &[Make("rollingUpdate", &[Absent("maxUnavailable", Text("25%")), Absent("maxSurge", Text("25%"))])];
    if strategy.text("type") == "RollingUpdate" {
        fill(strategy, ROLLING);
    }
}

const COUNTS: &[&str] = &["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"];

fn check_deployment(_cx: &Context<'_>, errors: &mut Errors, deployment: &Object) {
    let spec = At { path: Path::root("spec"), object: deployment.map("spec") };
    check(errors, &spec, &[Rule::NonNegative("replicas")]);
    check_selector(errors, &spec, "deployment");
    check_lasting(errors, &spec, "ReplicaSet", spec.object.map("selector"));
    if let Some(strategy) = spec.enter("strategy") {
        check_strategy(errors, &strategy);
    }
    check(
        errors,
        &spec,
        &[
            Rule::NonNegative("minReadySeconds"),
            Rule::NonNegative("revisionHistoryLimit"),
            Rule::NonNegative("progressDeadlineSeconds"),
        ],
    );
    let deadline = spec.object.int("progressDeadlineSeconds");
    if let Some(seconds) = deadline.filter(|seconds| *seconds <= spec.object.number("minReadySeconds")) {
        errors.invalid(spec.path("progressDeadlineSeconds"), seconds, "must be greater than minReadySeconds");
    }
}

fn check_strategy(errors: &mut Errors, strategy: &At<'_>) {
    match (strategy.text("type"), strategy.enter("rollingUpdate")) {
        ("Recreate", Some(rolling)) => {
            errors.forbidden(rolling.path, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.required(strategy.path("rollingUpdate"), "this should be defaulted and never be nil");
        }
        ("RollingUpdate", Some(rolling)) => {
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(errors, &rolling, field);
            }
            if is_zero_share(rolling.object.value("maxUnavailable")) && is_zero_share(rolling.object.value("maxSurge"))
            {
                let value = rolling.object.value("maxUnavailable").cloned().unwrap_or_default();
                errors.invalid(rolling.path("maxUnavailable"), value, "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(errors, &rolling, "maxUnavailable");
        }
        _ => errors.not_supported(strategy.path.clone(), strategy.as_value(), &["Recreate", "RollingUpdate"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;
    use serde_json::{Value, json};

    fn deployment(spec: Value) -> Object {
        let template =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
        let Value::Object(mut object) = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": template}})
        else {
            unreachable!()
        };
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        DEPLOYMENT.default(&mut object);
        object
    }

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        for (spec, text) in [
            (json!({}), ""),
            (json!({"replicas": -1}), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
            (
                json!({"selector": {"matchLabels": {"app": "db"}}}),
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ),
            (json!({"selector": null}), "spec.selector: Required value"),
            (
                json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ),
            (
                json!({"progressDeadlineSeconds": 5, "minReadySeconds": 5}),
                "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
            ),
        ] {
            let errors = DEPLOYMENT.validate(&cx, &deployment(spec.clone()));
            let said = if errors.is_empty() { String::new() } else { errors.to_string() };
            assert_eq!(said, text, "{spec}");
        }
        let other = json!({"selector": {"matchLabels": {"app": "web", "x": "y"}},
            "template": {"metadata": {"labels": {"app": "web", "x": "y"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}});
        let errors = DEPLOYMENT.validate_update(&cx, &deployment(other), &deployment(json!({})));
        assert_eq!(
            errors.to_string(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"x\":\"y\"}}: field is immutable"
        );
    }

    #[test]
    fn defaults_are_filled() {
        let spec = &deployment(json!({}))["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    }
}
