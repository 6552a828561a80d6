//! ReplicaSets.

use crate::strategy::fill::Fill::{Absent, Drop, Make};
use crate::strategy::fill::Fixed::Int;
use crate::strategy::pod::TEMPLATE;
use crate::strategy::row::{Row, SPEC};

/// ReplicaSets.
pub(in crate::strategy) static REPLICA_SET: Row = Row {
    fills: &[Make("spec", &[Absent("replicas", Int(1)), Drop(&["minReadySeconds"]), Make("template", TEMPLATE)])],
    generation: SPEC,
    ..Row::PLAIN
};
