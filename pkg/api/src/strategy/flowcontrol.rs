//! `flowcontrol.apiserver.k8s.io`.

use super::fill::Fill::{Absent, In, Make, Zero};
use super::fill::Fixed::Int;
use super::row::{METADATA, Row, SPEC};

/// FlowSchemas.
pub(super) static FLOW_SCHEMA: Row = Row {
    fills: &[Make("spec", &[Zero("matchingPrecedence", Int(1000))])],
    generation: SPEC,
    status_restores: METADATA,
    ..Row::PLAIN
};

/// PriorityLevelConfigurations.
pub(super) static PRIORITY_LEVEL: Row = Row {
    fills: &[Make(
        "spec",
        &[
            In(&["exempt"], &[Absent("nominalConcurrencyShares", Int(0)), Absent("lendablePercent", Int(0))]),
            In(
                &["limited"],
                &[
                    Absent("nominalConcurrencyShares", Int(30)),
                    Absent("lendablePercent", Int(0)),
                    In(
                        &["limitResponse"],
                        &[In(
                            &["queuing"],
                            &[Zero("handSize", Int(8)), Zero("queues", Int(64)), Zero("queueLengthLimit", Int(50))],
                        )],
                    ),
                ],
            ),
        ],
    )],
    generation: SPEC,
    status_restores: METADATA,
    ..Row::PLAIN
};
