//! `/version`.

use serde_json::{Value, json};

/// The version of Kubernetes that is served.
pub(super) const RELEASE: &str = "v1.35.4";

/// The version of Kubernetes that is served, with knarr's own behind the plus sign: clients parse the first part.
const GIT_VERSION: &str = concat!("v1.35.4+knarr", env!("CARGO_PKG_VERSION"));

/// `k8s.io/apimachinery/pkg/version Info`.
pub(super) fn info() -> Value {
    json!({
        "major": "1",
        "minor": "35",
        "emulationMajor": "1",
        "emulationMinor": "35",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "34",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", arch()),
    })
}

/// The architecture as Go names it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
