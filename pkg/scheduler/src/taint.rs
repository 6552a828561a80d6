//! Taints and tolerations
//! (<https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>).

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether a toleration covers a taint: an empty key with `Exists` covers all, an empty effect covers all effects.
fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if given(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        Some("Equal" | "") | None => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    }
}

/// Whether one of the tolerations covers the taint.
pub(crate) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

/// Whether the taint keeps new pods away.
pub(crate) fn is_hard(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(toleration: Value, taint: Value, expect: bool) {
        let (t, n): (Toleration, Taint) =
            (serde_json::from_value(toleration.clone()).unwrap(), serde_json::from_value(taint.clone()).unwrap());
        assert_eq!(tolerated(&[t], &n), expect, "{toleration} {taint}");
    }

    #[test]
    fn coverage() {
        let taint = json!({"key": "k", "value": "v", "effect": "NoSchedule"});
        check(json!({"operator": "Exists"}), taint.clone(), true);
        check(json!({"key": "k", "operator": "Exists"}), taint.clone(), true);
        check(json!({"key": "k", "value": "v"}), taint.clone(), true);
        check(json!({"key": "k", "value": "w"}), taint.clone(), false);
        check(json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}), taint.clone(), false);
        check(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), taint.clone(), true);
        check(json!({"key": "other", "operator": "Exists"}), taint, false);
    }
}
