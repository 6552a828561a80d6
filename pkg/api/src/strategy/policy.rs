//! `policy`: disruption budgets.

use super::apps::{at_most_all, int_or_percent};
use super::row::{Row, SPEC};
use super::rules::{At, Rule, check};
use super::selector;
use crate::field::{Errors, Path};
use crate::tree::Tree;

/// PodDisruptionBudgets.
pub(super) static DISRUPTION_BUDGET: Row = Row {
    rules: &[Rule::In("spec", &[Rule::With(check_spec)])],
    check_status: |errors, new, _| {
        let status = At { path: Path::root("status"), object: new.map("status") };
        check(
            errors,
            &status,
            &[
                Rule::NonNegative("disruptionsAllowed"),
                Rule::NonNegative("currentHealthy"),
                Rule::NonNegative("desiredHealthy"),
                Rule::NonNegative("expectedPods"),
            ],
        );
    },
    needs_revision: true,
    generation: SPEC,
    ..Row::PLAIN
};

fn check_spec(errors: &mut Errors, spec: &At<'_>) {
    const SHARES: [&str; 2] = ["minAvailable", "maxUnavailable"];
    if SHARES.iter().all(|field| spec.object.has(field)) {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid(spec.path.clone(), spec.as_value(), detail);
    }
    for field in SHARES {
        int_or_percent(errors, spec, field);
        at_most_all(errors, spec, field);
    }
    selector::check_in(errors, spec, "selector");
    check(errors, spec, &[Rule::OneOf("unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"])]);
}
