//! Deployments.

use crate::Object;
use crate::strategy::fill::Fill::{Absent, Drop, Make, With, Zero};
use crate::strategy::fill::Fixed::{Int, Text};
use crate::strategy::pod::TEMPLATE;
use crate::strategy::row::Row;
use crate::tree::{Tree, same};

/// Deployments.
pub(in crate::strategy) static DEPLOYMENT: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Absent("replicas", Int(1)),
            Make("strategy", &[Zero("type", Text("RollingUpdate")), With(rolling_update)]),
            Absent("revisionHistoryLimit", Int(10)),
            Absent("progressDeadlineSeconds", Int(600)),
            Drop(&["paused", "minReadySeconds"]),
            Make("template", TEMPLATE),
        ],
    )],
    generation: Some(|new, old| {
        !same(new.get("spec"), old.get("spec"))
            || !same(new.value("metadata.annotations"), old.value("metadata.annotations"))
    }),
    status_restores: &["labels"],
    ..Row::PLAIN
};

fn rolling_update(strategy: &mut Object) {
    if strategy.text("type") == "RollingUpdate" {
        const ROLLING: &[crate::strategy::fill::Fill] =
            &[Make("rollingUpdate", &[Absent("maxUnavailable", Text("25%")), Absent("maxSurge", Text("25%"))])];
        crate::strategy::fill::fill(strategy, ROLLING);
    }
}
