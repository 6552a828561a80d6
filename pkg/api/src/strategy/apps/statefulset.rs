//! StatefulSets.

use serde_json::json;

use crate::Object;
use crate::strategy::core::CLAIM_SPEC;
use crate::strategy::fill::Fill::{Absent, Drop, Each, Make, With, Zero};
use crate::strategy::fill::Fixed::{Int, Text};
use crate::strategy::pod::TEMPLATE;
use crate::strategy::row::{Row, SPEC};
use crate::tree::{Tree, object_mut};

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
            Drop(&["minReadySeconds", "volumeClaimTemplates"]),
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
    generation: SPEC,
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
