//! `policy`: disruption budgets.

use super::row::{Row, SPEC};

/// PodDisruptionBudgets.
pub(super) static DISRUPTION_BUDGET: Row = Row { needs_revision: true, generation: SPEC, ..Row::PLAIN };
