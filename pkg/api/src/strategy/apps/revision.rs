//! ControllerRevisions.

use crate::strategy::row::Row;

/// ControllerRevisions.
pub(in crate::strategy) static CONTROLLER_REVISION: Row = Row::PLAIN;
