//! `batch`: jobs and their schedules.

mod cronjob;
mod job;
mod job_change;
mod job_check;
mod schedule;

pub(super) use cronjob::CRON_JOB;
pub(super) use job::JOB;
