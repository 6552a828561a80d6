//! StatefulSets.

use serde_json::json;

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::core::{CLAIM_SPEC, check_claim_spec};
use crate::strategy::fill::Fill::{Absent, Each, Make, With, Zero};
use crate::strategy::fill::Fixed::{Int, Text};
use crate::strategy::pod::{TEMPLATE, check_lasting, check_selector, warn_of_template};
use crate::strategy::row::{Row, SPEC};
use crate::strategy::rules::{At, Rule, check};
use crate::strategy::{Context, NameRule, forms};
use crate::tree::{Tree, object_mut, same_objects};

use super::{at_most_all, check_counts, int_or_percent, is_zero_share};

/// StatefulSets.
pub(in crate::strategy) static STATEFUL_SET: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Zero("podManagementPolicy", Text("OrderedReady")),
            Make("updateStrategy", &[With(rolling_update)]),
            Make(
                "persistentVolumeClaimRetentionPolicy",
                &[Zero("whenDeleted", Text("Retain")), Zero("whenScaled", Text("Retain"))],
            ),
            Absent("replicas", Int(1)),
            Absent("revisionHistoryLimit", Int(10)),
            Make("template", TEMPLATE),
            Each(
                &["volumeClaimTemplates"],
                &[
                    Zero("apiVersion", Text("v1")),
                    Zero("kind", Text("PersistentVolumeClaim")),
                    Make("metadata", &[]),
                    Make("spec", CLAIM_SPEC),
                    Make("status", &[Zero("phase", Text("Pending"))]),
                ],
            ),
        ],
    )],
    check: check_set,
    check_create: |_, errors, set| {
        let spec = At { path: Path::root("spec"), object: set.map("spec") };
        for claim in spec.each("volumeClaimTemplates").filter_map(|template| template.enter("spec")) {
            check_claim_spec(errors, &claim);
        }
        check(errors, &spec, &[Rule::Formed("serviceName", forms::label)]);
    },
    check_update: check_changes,
    check_status: |errors, new, old| {
        const COUNTS: &[&str] =
            &["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        check_counts(errors, new, old, COUNTS);
    },
    generation: SPEC,
    name: NameRule::Label,
    warn: |new, old| warn_of_template(new, old, "spec.template"),
    ..Row::PLAIN
};

/// Who names no strategy gets a rolling update; who names it without details gets no details.
fn rolling_update(strategy: &mut Object) {
    if strategy.text("type").is_empty() {
        strategy.insert("type".into(), "RollingUpdate".into());
        if !strategy.has("rollingUpdate") {
            strategy.insert("rollingUpdate".into(), json!({}));
        }
    }
    if strategy.text("type") == "RollingUpdate"
        && let Some(details) = object_mut(strategy, "rollingUpdate")
        && !details.has("partition")
    {
        details.insert("partition".into(), 0.into());
    }
}

const RETENTION: &[Rule] =
    &[Rule::OneOf("whenDeleted", &["Retain", "Delete"]), Rule::OneOf("whenScaled", &["Retain", "Delete"])];

fn check_set(_cx: &Context<'_>, errors: &mut Errors, set: &Object) {
    let spec = At { path: Path::root("spec"), object: set.map("spec") };
    match spec.text("podManagementPolicy") {
        "" => errors.required(spec.path("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            errors.invalid(spec.path("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'");
        }
    }
    if let Some(strategy) = spec.enter("updateStrategy") {
        check_strategy(errors, &strategy);
    }
    check(
        errors,
        &spec,
        &[
            Rule::In("persistentVolumeClaimRetentionPolicy", RETENTION),
            Rule::NonNegative("replicas"),
            Rule::NonNegative("minReadySeconds"),
            Rule::In("ordinals", &[Rule::NonNegative("start")]),
        ],
    );
    check_selector(errors, &spec, "statefulset");
    let with_claims = volumes_for_claims(spec.object);
    let spec = At { path: spec.path, object: &with_claims };
    check_lasting(errors, &spec, "StatefulSet", spec.object.map("selector"));
}

fn check_strategy(errors: &mut Errors, strategy: &At<'_>) {
    match (strategy.text("type"), strategy.enter("rollingUpdate")) {
        ("", _) => errors.required(strategy.path.clone(), ""),
        ("OnDelete", Some(rolling)) => {
            errors.invalid(rolling.path.clone(), rolling.as_value(), "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("RollingUpdate", Some(rolling)) => {
            check(errors, &rolling, &[Rule::NonNegative("partition")]);
            if let Some(share) = rolling.object.value("maxUnavailable") {
                int_or_percent(errors, &rolling, "maxUnavailable");
                if is_zero_share(Some(share)) {
                    errors.invalid(rolling.path("maxUnavailable"), share.clone(), "cannot be 0");
                }
                at_most_all(errors, &rolling, "maxUnavailable");
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            errors.invalid(strategy.path.clone(), strategy.as_value(), detail);
        }
    }
}

/// The spec with a volume per claim template, so that containers can mount them.
fn volumes_for_claims(spec: &Object) -> Object {
    let mut spec = spec.clone();
    let names: Vec<_> =
        spec.objects("volumeClaimTemplates").map(|claim| claim.text("metadata.name").to_owned()).collect();
    if let Some(pod) = object_mut(&mut spec, "template.spec").filter(|_| !names.is_empty()) {
        let own = pod.objects("volumes").filter(|volume| !names.iter().any(|name| name == volume.text("name")));
        let own: Vec<_> = own.cloned().map(serde_json::Value::Object).collect();
        let claims = names.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        let volumes: Vec<_> = claims.chain(own).collect();
        pod.insert("volumes".into(), volumes.into());
    }
    spec
}

fn check_changes(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    const FREE: &[&str] = &[
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
    ];
    let bound = |set: &Object| {
        let mut spec = set.map("spec").clone();
        spec.retain(|field, _| !FREE.contains(&field.as_str()));
        spec
    };
    if !same_objects(&bound(new), &bound(old)) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                      'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                      'minReadySeconds' are forbidden";
        errors.forbidden(Path::root("spec"), detail);
    }
}
