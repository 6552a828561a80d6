//! The node's own containerd: found or started, watched, restarted, filled with images.
//!
//! It is *adopted*, not owned: stopping or killing knarr leaves it and every pod running, and a new knarr goes on with
//! it. What a running containerd was started with is read from its own command line, because the configuration's name
//! contains the hash of its content; no file of ours can disagree with the process.

mod archive;
mod events;
mod host;
mod import;
mod pidfd;
mod process;
mod settings;
mod supervisor;

pub use events::Exit;
pub(crate) use events::exits;
pub use host::Host;
pub use import::Importer;
pub(crate) use import::architecture;
pub use process::Starter;
pub use settings::Settings;
pub use supervisor::{Containerd, State};

use std::io;
use std::path::PathBuf;

/// containerd's namespace for what CRI made.
pub const NAMESPACE: &str = "k8s.io";
/// The label under which newer CRI plugins keep an image from garbage collection; we do so on older ones, too.
pub const PINNED_LABEL: &str = "io.cri-containerd.pinned";

/// Why there is no containerd to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Programs are not installed.
    #[error("not found in PATH: {}; on Debian and Ubuntu: apt-get install {}", .0.join(", "), .1.join(" "))]
    Missing(Vec<&'static str>, Vec<&'static str>),
    /// A file or directory of ours.
    #[error("{path}: {cause}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A process could not be started, watched or ended.
    #[error("{doing}: {cause}")]
    Process {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// It ended, or did not answer, and says why in its log.
    #[error("containerd {0}; its log {1} ends with: {2}")]
    Silent(&'static str, PathBuf, String),
    /// `systemctl` refused.
    #[error("{0}")]
    Systemd(String),
    /// containerd's API refused.
    #[error("containerd: {}", .0.message())]
    Api(#[from] Box<tonic::Status>),
    /// An image archive that is none.
    #[error("{0} is no image archive: {1}")]
    Archive(String, String),
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Api(Box::new(status))
    }
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { path, cause }
    }

    pub(crate) fn process(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |cause| Self::Process { doing, cause }
    }
}
