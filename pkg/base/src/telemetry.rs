//! Logging of a process.

use tracing_subscriber::EnvFilter;

/// Sends log lines of this process to standard error. `filter` is the default when `KNARR_LOG` is not set, in the syntax
/// of `tracing`'s environment filter, for example `info,knarr_store=debug`. Calling it twice keeps the first.
pub fn init(filter: &str) {
    let filter = EnvFilter::try_from_env("KNARR_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second call can only come from a test in the same process; the first one's settings stay.
    let _already_set =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).try_init();
}
