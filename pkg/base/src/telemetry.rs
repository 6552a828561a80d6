//! Logging of a process.

use tracing_subscriber::EnvFilter;

/// Sends log lines of this process to standard error. `filter` is the default when `KNARR_LOG` is not set, in the syntax
/// of `tracing`'s environment filter, for example `info,knarr_store=debug`. Calling it twice keeps the first.
pub fn init(filter: &str) {
    let wanted = std::env::var("KNARR_LOG").ok().map(EnvFilter::try_new);
    let wrong = wanted.as_ref().and_then(|wanted| wanted.as_ref().err()).map(ToString::to_string);
    let filter = wanted.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(filter));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second call can only come from a test in the same process; the first one's settings stay.
    let _already_set =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).try_init();
    if let Some(error) = wrong {
        tracing::warn!(%error, "KNARR_LOG makes no sense: the default is used");
    }
}
