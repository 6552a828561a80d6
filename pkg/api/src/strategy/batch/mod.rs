//! `batch`: jobs and their schedules.

mod cronjob;
mod job;

pub(super) use cronjob::CRON_JOB;
pub(super) use job::JOB;
