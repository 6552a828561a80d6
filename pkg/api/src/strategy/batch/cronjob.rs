//! CronJobs.

use super::job::JOB_SPEC;
use crate::strategy::fill::Fill::{Absent, Make, Zero};
use crate::strategy::fill::Fixed::{Flag, Int, Text};
use crate::strategy::row::{Row, SPEC};

/// CronJobs.
pub(in crate::strategy) static CRON_JOB: Row = Row {
    fills: &[Make(
        "spec",
        &[
            Zero("concurrencyPolicy", Text("Allow")),
            Absent("suspend", Flag(false)),
            Absent("successfulJobsHistoryLimit", Int(3)),
            Absent("failedJobsHistoryLimit", Int(1)),
            Make("jobTemplate", &[Make("metadata", &[]), Make("spec", JOB_SPEC)]),
        ],
    )],
    generation: SPEC,
    ..Row::PLAIN
};
