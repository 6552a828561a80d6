//! What can go wrong between knarr and the kernel.

use std::fmt::Display;
use std::io;

/// Why something could not be done. The message says what was tried; nothing is swallowed on the way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call, a file or a program.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// How it failed.
        source: io::Error,
    },
    /// The kernel answered something that is no netlink.
    #[error("cannot read the kernel's answer: {0}")]
    Malformed(String),
    /// nft refused a batch, which therefore changed nothing. What it wrote, which names the command.
    #[error("nft: {0}")]
    Nft(String),
    /// The configuration cannot work here; the text is for the operator.
    #[error("{0}")]
    Config(String),
    /// The API answered with an error.
    #[error("{doing}: {source}")]
    Api {
        /// What was tried.
        doing: String,
        /// How it failed.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// The operating system's error, where there is one.
    #[must_use]
    pub fn os(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Says what was tried when an operation of the operating system fails.
pub(crate) trait Doing<T> {
    fn doing<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|error| Error::Io { doing: what().to_string(), source: error.into() })
    }
}

/// Turns "it is there already" (or "it is gone already") into success.
pub(crate) fn unless(errno: i32, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.os() == Some(errno) => Ok(()),
        other => other,
    }
}
