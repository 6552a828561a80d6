//! Kinds with little to them: leases, priority classes, runtime classes.

use super::fill::Fill::{Absent, Drop};
use super::fill::Fixed::Text;
use super::row::Row;

/// Leases.
pub(super) static LEASE: Row = Row { create_on_update: true, needs_revision: true, ..Row::PLAIN };

/// LeaseCandidates.
pub(super) static LEASE_CANDIDATE: Row = Row { create_on_update: true, needs_revision: true, ..Row::PLAIN };

/// PriorityClasses.
pub(super) static PRIORITY_CLASS: Row = Row {
    fills: &[Absent("preemptionPolicy", Text("PreemptLowerPriority")), Drop(&["globalDefault", "description"])],
    // It starts at 1 and never moves: nothing of a priority class that matters can change.
    generation: Some(|_, _| false),
    ..Row::PLAIN
};

/// RuntimeClasses.
pub(super) static RUNTIME_CLASS: Row = Row { create_on_update: true, needs_revision: true, ..Row::PLAIN };
