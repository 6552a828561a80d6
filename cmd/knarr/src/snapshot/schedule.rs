//! The flags of scheduled snapshots, by the names that k3s gives them after its `etcd-`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use jiff::Timestamp;

/// See the module.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flags {
    /// When snapshots are made, as in crontab(5), by the host's time zone unless one follows; "never" for none
    #[arg(long, value_name = "CRON", default_value = "0 */12 * * *")]
    pub(crate) snapshot_schedule: Times,
    /// How many scheduled snapshots are kept; 0 for all
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) snapshot_retention: usize,
    /// Directory of scheduled snapshots; `snapshots` in the data directory by default
    #[arg(long, value_name = "DIR")]
    pub(crate) snapshot_dir: Option<PathBuf>,
    /// File whose content is the passphrase for the cluster's keys in scheduled snapshots; without it these have no keys
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot_passphrase_file: Option<PathBuf>,
}

/// Points in time, without end or none at all.
#[derive(Clone, Debug)]
pub(crate) struct Times(pub(crate) Option<Crontab>);

impl FromStr for Times {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "never" {
            return Ok(Self(None));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::System;
        let crontab = parse_crontab_with(text, options);
        // The parser draws the line and points at the place: in one line, the end says what is wrong.
        let crontab = crontab.map_err(|error| anyhow!("{}", reason(&error.to_string())))?;
        let times = Self(Some(crontab));
        times.after(Timestamp::now()).context("no day is like that")?;
        Ok(times)
    }
}

impl Times {
    /// The first one after that time.
    pub(crate) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        Some(self.0.as_ref()?.find_next(time).ok()?.timestamp())
    }
}

fn reason(told: &str) -> &str {
    told.lines().last().unwrap_or_default().trim_start_matches([' ', '^', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_crontabs_or_never() {
        let time: Timestamp = "2026-11-01T10:30:00Z".parse().unwrap();
        for (text, expected) in [
            ("0 */12 * * * UTC", Some("2026-11-01T12:00:00Z")),
            ("15 3 * * MON Europe/Berlin", Some("2026-11-02T02:15:00Z")),
            ("never", None),
        ] {
            let times: Times = text.parse().unwrap();
            assert_eq!(times.after(time), expected.map(|text| text.parse().unwrap()), "{text}");
        }
        for text in ["", "false", "nightly", "0 0 30 2 *", "61 * * * *", "* * * *"] {
            let told = text.parse::<Times>().unwrap_err().to_string();
            assert!(!told.is_empty() && !told.contains('\n'), "{text}: {told}");
        }
    }
}
